"""Lays sequences out as one row of tokens in which every common prefix stands once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from guerdon.domain.queries import TOKEN_BYTES, Integers, integers, shared_tokens


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens that the same sequences pass through: an edge of the trie.

    It holds the places [start, end) of the row, and what branches off below it the places [end, reach).
    ``position`` is that of its first token within its sequences. ``parent`` is the index of the segment above it,
    -1 at a root.
    """

    start: int
    end: int
    reach: int
    position: int
    parent: int


@dataclass(frozen=True, slots=True)
class Context:
    """Tokens that are known from before, and the places [start, end) of the row whose sequences begin with them."""

    prefix: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Row:
    """Sequences, packed.

    A token sees the tokens at or before it in its own segment, the segments above that, and its root's context.
    ``token_ids`` and ``positions`` [tokens] are in the order of the trie's depth-first walk, so whatever lies below a
    segment follows it in one piece. ``leaves[i]`` is the segment that sequence i ends in, ``fresh[i]`` how many tokens
    it added to the row.
    """

    token_ids: Integers
    positions: Integers
    segments: tuple[Segment, ...]
    contexts: tuple[Context, ...]
    leaves: tuple[int, ...]
    fresh: tuple[int, ...]

    def place(self, sequence: int, position: int) -> int:
        """Where in the row the token at a position of a sequence stands. It must not lie in the context."""
        segment = self.segments[self.leaves[sequence]]
        while segment.position > position:
            segment = self.segments[segment.parent]
        return segment.start + position - segment.position

    def last(self, sequence: int) -> int:
        """Where the sequence's last token stands."""
        return self.segments[self.leaves[sequence]].end - 1

    def path(self, sequence: int) -> list[int]:
        """The segments that a sequence passes through, from its root on."""
        path = [self.leaves[sequence]]
        while (parent := self.segments[path[-1]].parent) >= 0:
            path.append(parent)
        return path[::-1]


def pack(sequences: Sequence[bytes], known: Sequence[int] = ()) -> Row:
    """The row of all sequences (at least one token each).

    ``known[i]`` tokens of sequence i, fewer than it has, are left out of the row: they become its context. What
    sequences with different contexts have in common after that is not shared.
    """
    prefixes = [one[: count * TOKEN_BYTES] for one, count in zip(sequences, known or [0] * len(sequences), strict=True)]
    growing = _Growing()
    contexts: list[Context] = []
    order = sorted(range(len(sequences)), key=lambda i: (prefixes[i], sequences[i]))
    for prefix, members in groupby(order, key=prefixes.__getitem__):
        start = growing.length
        for index in members:
            growing.add(index, sequences[index], len(prefix) // TOKEN_BYTES)
        growing.close()
        if prefix:
            contexts.append(Context(prefix, start, growing.length))
    return growing.row(contexts)


def pack_apart(sequences: Sequence[bytes]) -> Row:
    """The row of all sequences one after the other, nothing shared: for models whose tokens see what follows them."""
    ends = np.cumsum([len(one) // TOKEN_BYTES for one in sequences]).tolist()
    starts = [0, *ends[:-1]]
    return Row(
        token_ids=integers(b"".join(sequences)),
        positions=np.concatenate([np.arange(e - s, dtype=np.int32) for s, e in zip(starts, ends, strict=True)]),
        segments=tuple(Segment(s, e, e, 0, -1) for s, e in zip(starts, ends, strict=True)),
        contexts=(),
        leaves=tuple(range(len(sequences))),
        fresh=tuple(e - s for s, e in zip(starts, ends, strict=True)),
    )


@dataclass(slots=True, eq=False)
class _Node:
    """A segment while the row grows; ``reach`` is set once nothing more can come below it."""

    start: int
    end: int
    position: int
    parent: "_Node | None"
    reach: int = -1

    @property
    def depth(self) -> int:
        """The position after its last token."""
        return self.position + self.end - self.start


class _Growing:
    """A row under construction. Sequences come in the order of their bytes, so each shares most with the last."""

    def __init__(self) -> None:
        self.length = 0
        self._pieces: list[Integers] = []
        self._positions: list[Integers] = []
        self._nodes: list[_Node] = []
        self._open: list[_Node] = []
        self._last: bytes = b""
        self._leaf: dict[int, _Node] = {}
        self._fresh: dict[int, int] = {}

    def add(self, index: int, sequence: bytes, known: int) -> None:
        """Put in a sequence, whose first ``known`` tokens are context."""
        length = len(sequence) // TOKEN_BYTES
        shared = max(known, shared_tokens(self._last, sequence)) if self._open else known
        self._branch(shared)
        if shared < length:
            parent = self._open[-1] if self._open else None
            node = _Node(self.length, self.length + length - shared, shared, parent)
            self._nodes.append(node)
            self._open.append(node)
            self._pieces.append(integers(sequence[shared * TOKEN_BYTES :]))
            self._positions.append(np.arange(shared, length, dtype=np.int32))
            self.length = node.end
        self._last = sequence
        self._leaf[index] = self._open[-1]
        self._fresh[index] = length - shared

    def _branch(self, depth: int) -> None:
        """Close what lies below a depth; a segment that runs across it is cut in two there."""
        while self._open and self._open[-1].position >= depth:
            self._open.pop().reach = self.length
        if self._open and self._open[-1].depth > depth:
            lower = self._open[-1]
            cut = lower.start + depth - lower.position
            upper = _Node(lower.start, cut, lower.position, lower.parent)
            lower.start, lower.position, lower.parent, lower.reach = cut, depth, upper, self.length
            self._nodes.append(upper)
            self._open[-1] = upper

    def close(self) -> None:
        """End this tree; the next sequence begins another."""
        while self._open:
            self._open.pop().reach = self.length

    def row(self, contexts: Sequence[Context]) -> Row:
        """The finished row."""
        nodes = sorted(self._nodes, key=lambda node: node.start)
        index = {id(node): i for i, node in enumerate(nodes)}
        return Row(
            token_ids=np.concatenate(self._pieces),
            positions=np.concatenate(self._positions),
            segments=tuple(
                Segment(n.start, n.end, n.reach, n.position, -1 if n.parent is None else index[id(n.parent)])
                for n in nodes
            ),
            contexts=tuple(contexts),
            leaves=tuple(index[id(self._leaf[i])] for i in range(len(self._leaf))),
            fresh=tuple(self._fresh[i] for i in range(len(self._fresh))),
        )
