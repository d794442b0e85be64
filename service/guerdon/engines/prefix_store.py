"""What was computed for recent sequences, found again by the longest prefix that a new one shares with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from guerdon.domain.queries import TOKEN_BYTES, shared_tokens

P = TypeVar("P")


@dataclass(slots=True, eq=False)
class _Node(Generic[P]):
    """Tokens below its parent, what is kept for them, and when they were last asked for."""

    tokens: bytes
    piece: P
    parent: "_Node[P] | None"
    used: int
    below: "dict[bytes, _Node[P]]" = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.tokens) // TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class Match(Generic[P]):
    """The first ``length`` tokens of a sequence are known: the pieces that hold them, in order."""

    length: int
    pieces: tuple[P, ...]


class PrefixStore(Generic[P]):
    """Pieces by token prefix, at most ``max_tokens`` of them; those asked for longest ago go first, ends before starts.

    A piece belongs to a run of tokens. ``view(piece, start, stop)`` gives the part of it for those of its tokens;
    ``own`` gives that memory of its own, so that the rest can go.
    """

    def __init__(self, max_tokens: int, view: Callable[[P, int, int], P], own: Callable[[P], P]) -> None:
        self.max_tokens, self._view, self._own = max_tokens, view, own
        self._below: dict[bytes, _Node[P]] = {}
        self._clock = 0
        self.tokens = 0

    def match(self, sequence: bytes, at_most: int) -> Match[P]:
        """The longest known prefix of a sequence, of ``at_most`` tokens. Its pieces are views, for use at once."""
        self._clock += 1
        pieces: list[P] = []
        length = 0
        for node, shared in self._walk(sequence[: at_most * TOKEN_BYTES]):
            node.used = self._clock
            pieces.append(node.piece if shared == node.length else self._view(node.piece, 0, shared))
            length += shared
        return Match(length, tuple(pieces))

    def put(self, sequence: bytes, start: int, piece: P) -> None:
        """Keep what was computed for the tokens of a sequence from ``start`` on; what comes before must be known.

        Where that has been dropped meanwhile, or the tokens are known already, nothing is kept.
        """
        self._clock += 1
        depth, parent = 0, None
        for node, shared in self._walk(sequence):
            depth += shared
            parent = node if shared == node.length else self._split(node, shared)
            parent.used = self._clock
        length = len(sequence) // TOKEN_BYTES
        if depth < start or depth == length:
            return
        rest = sequence[depth * TOKEN_BYTES :]
        kept = piece if depth == start else self._own(self._view(piece, depth - start, length - start))
        (self._below if parent is None else parent.below)[rest[:TOKEN_BYTES]] = _Node(rest, kept, parent, self._clock)
        self.tokens += length - depth

    def trim(self) -> None:
        """Drop what is over the limit."""
        while self.tokens > self.max_tokens:
            ends = sorted((node for node in self._nodes() if not node.below), key=lambda node: node.used)
            for node in ends:
                over = self.tokens - self.max_tokens
                if over <= 0:
                    return
                if over < node.length:
                    self._shorten(node, node.length - over)
                    return
                del (self._below if node.parent is None else node.parent.below)[node.tokens[:TOKEN_BYTES]]
                self.tokens -= node.length

    def _shorten(self, node: _Node[P], length: int) -> None:
        self.tokens -= node.length - length
        node.tokens = node.tokens[: length * TOKEN_BYTES]
        node.piece = self._own(self._view(node.piece, 0, length))

    def clear(self) -> None:
        """Drop everything."""
        self._below.clear()
        self.tokens = 0

    def _walk(self, sequence: bytes) -> Iterator[tuple[_Node[P], int]]:
        """The nodes along a sequence, each with how many of its tokens the sequence shares."""
        below = self._below
        while node := below.get(sequence[:TOKEN_BYTES]):
            shared = shared_tokens(node.tokens, sequence)
            rest = sequence[shared * TOKEN_BYTES :]
            below = node.below if shared == node.length else {}
            yield node, shared
            sequence = rest

    def _split(self, node: _Node[P], at: int) -> _Node[P]:
        """Cut a node in two; returns the upper part."""
        upper = _Node(node.tokens[: at * TOKEN_BYTES], self._own(self._view(node.piece, 0, at)), node.parent, node.used)
        (self._below if node.parent is None else node.parent.below)[node.tokens[:TOKEN_BYTES]] = upper
        node.piece = self._own(self._view(node.piece, at, node.length))
        node.tokens, node.parent = node.tokens[at * TOKEN_BYTES :], upper
        upper.below[node.tokens[:TOKEN_BYTES]] = node
        return upper

    def _nodes(self) -> Iterator[_Node[P]]:
        waiting = list(self._below.values())
        while waiting:
            node = waiting.pop()
            waiting += node.below.values()
            yield node
