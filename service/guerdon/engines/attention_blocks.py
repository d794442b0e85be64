"""Cuts the attention of a packed row into blocks, each dense or under a small mask."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guerdon.engines.prefix_trie import Row, Segment

TILE = 128
"""Neighbouring subtrees of together at most so many tokens are one masked block: small blocks cost a call each."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Places [start, end) of the row look at the keys [first, stop) of the row, or of what precedes the row.

    ``piece`` counts the pieces of all contexts, -1 is the row itself; ``position`` is that of a piece's first key.
    ``tile`` marks a block of several segments, whose tokens do not all see each other.
    """

    start: int
    end: int
    first: int
    stop: int
    piece: int = -1
    position: int = 0
    tile: bool = False

    @property
    def own(self) -> bool:
        """Whether these tokens look at themselves. Own blocks tile the row."""
        return self.piece < 0 and self.first == self.start


def blocks_of(row: Row, pieces: Sequence[Sequence[int]], tile: int = TILE) -> list[Block]:
    """All blocks of a row: own blocks first. ``pieces`` are the lengths of the pieces of each context."""
    own: list[Block] = []
    below: list[Block] = []
    at = 0
    while at < len(row.segments):
        after = _tile(row.segments, at, tile)
        start, end = row.segments[at].start, row.segments[after - 1].end
        own.append(Block(start, end, start, end, tile=after - at > 1))
        segment = row.segments[at]
        if after - at == 1 and segment.reach > segment.end:
            below.append(Block(segment.end, segment.reach, segment.start, segment.end))
        at = after
    return own + below + list(_known(row, pieces))


def _tile(segments: Sequence[Segment], at: int, most: int) -> int:
    """The index after the last segment that goes into one tile with the one at ``at``: whole subtrees, side by side.

    A subtree too large for a tile is cut open: its root stands alone.
    """
    end = at
    while end < len(segments):
        beside = segments[end].parent == segments[at].parent
        if not beside or segments[end].reach - segments[at].start > most:
            break
        reach = segments[end].reach
        while end < len(segments) and segments[end].start < reach:
            end += 1
    return max(end, at + 1)


def _known(row: Row, pieces: Sequence[Sequence[int]]) -> Iterator[Block]:
    number = 0
    for context, lengths in zip(row.contexts, pieces, strict=True):
        position = 0
        for length in lengths:
            yield Block(context.start, context.end, 0, length, number, position)
            position += length
            number += 1


def mask_of(block: Block, row: Row, *, causal: bool, window: int | None) -> Mask | None:
    """Which of its keys each of a block's places sees [places, keys]; None where no mask is needed.

    A block of one segment needs none where its model's own rule is enough: all, or all up to itself.
    ``window``: only keys less than so many positions away are seen.
    """
    near = _near(block, row, causal=causal, window=window)
    if not block.own or not (block.tile or near is not None):
        return near
    seen = _tree(block, row, causal=causal)
    return seen if near is None else seen & near


def _near(block: Block, row: Row, *, causal: bool, window: int | None) -> Mask | None:
    """Who is within the window; None where all are."""
    if window is None:
        return None
    keys: NDArray[Any] = np.arange(block.position, block.position + block.stop)
    if block.piece < 0:
        keys = row.positions[block.first : block.stop]
    away = row.positions[block.start : block.end, None] - keys[None]
    if not causal:
        away = np.abs(away)
    near: Mask = away < window
    return None if near.all() else near


def _tree(block: Block, row: Row, *, causal: bool) -> Mask:
    """Who sees whom among a block's own tokens: a key is seen from its place to the end of its subtree."""
    here = row.segments[_segment(row, block.start) : _segment(row, block.end)]
    lengths = [segment.end - segment.start for segment in here]
    reach = np.repeat([segment.reach for segment in here], lengths)
    places = np.arange(block.start, block.end)
    first = places if causal else np.repeat([segment.start for segment in here], lengths)
    seen: Mask = (first[None] <= places[:, None]) & (places[:, None] < reach[None])
    return seen


def _segment(row: Row, place: int) -> int:
    """The index of the first segment that starts at the place or after it."""
    return bisect_left(row.segments, place, key=attrgetter("start"))
