"""Finds the queries that begin as another does, among a hundred thousand."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from heapq import merge
from itertools import chain

from guerdon.domain.queries import Query, shared_tokens
from guerdon.engines.shared_cost import Kind, kind

BLOCK = 512
"""A list of twice so many queries is split: to move them all for one that comes or goes costs next to nothing."""
PASS_OVER = 16
"""So many neighbours that are no mates, and the search on their side ends."""


class PrefixIndex:
    """Distinct queries in the order of their tokens, by kind."""

    def __init__(self) -> None:
        self._kinds: defaultdict[Kind, _Sorted] = defaultdict(_Sorted)

    def add(self, query: Query) -> None:
        """Take in a query that is not there yet."""
        self._kinds[kind(query)].add(query)

    def remove(self, query: Query) -> None:
        """Take out a query that is there."""
        self._kinds[kind(query)].remove(query)

    def mates(self, query: Query) -> Iterator[Query]:
        """Others that share at least half of their tokens with the query, those that share the most first.

        The index must not change meanwhile.
        """
        there = self._kinds[kind(query)]
        sides = (_mates(query, others, there.shortest) for others in (there.before(query), there.after(query)))
        return (other for _, other in merge(*sides, key=lambda found: -found[0]))


def _mates(query: Query, others: Iterator[Query], shortest: int) -> Iterator[tuple[int, Query]]:
    """Of the others, in order of growing distance, the mates with the tokens they share; none is below ``shortest``."""
    shared = query.length  # never rises: what lies between two sequences shares at least what they do
    passed_over = 0
    for other in others:
        half = other.length / 2
        if shared >= half:
            shared = shared_tokens(query.token_ids, other.token_ids)
        if shared >= half:
            yield shared, other
            continue
        passed_over += 1
        if passed_over == PASS_OVER or not shared or 2 * shared < shortest:
            return


class _Sorted:
    """A sorted list in blocks, so that a change moves one block and not all that follows.

    No query is shorter than ``shortest``, which is the length of the shortest since the list was last empty.
    """

    def __init__(self) -> None:
        self._blocks: list[list[Query]] = []
        self.shortest = 0

    def add(self, query: Query) -> None:
        if not self._blocks:
            self._blocks.append([query])
            self.shortest = query.length
            return
        self.shortest = min(self.shortest, query.length)
        at = min(self._block(query), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, query, key=_order)
        if len(block) > 2 * BLOCK:
            self._blocks[at : at + 1] = [block[:BLOCK], block[BLOCK:]]

    def remove(self, query: Query) -> None:
        at = self._block(query)
        block = self._blocks[at]
        del block[_place(block, query)]
        if not block:
            del self._blocks[at]

    def before(self, query: Query) -> Iterator[Query]:
        """Those before the query, the nearest first."""
        at = self._block(query)
        if at < len(self._blocks):
            block = self._blocks[at]
            yield from (block[i] for i in range(_place(block, query) - 1, -1, -1))
        yield from chain.from_iterable(reversed(self._blocks[i]) for i in range(at - 1, -1, -1))

    def after(self, query: Query) -> Iterator[Query]:
        """Those after the query, the nearest first."""
        at = self._block(query)
        if at < len(self._blocks):
            block = self._blocks[at]
            place = _place(block, query)
            place += place < len(block) and block[place] == query
            yield from (block[i] for i in range(place, len(block)))
        yield from chain.from_iterable(self._blocks[i] for i in range(at + 1, len(self._blocks)))

    def _block(self, query: Query) -> int:
        """The first block that does not end before the query; beyond the last if there is none."""
        return bisect_left(self._blocks, _order(query), key=lambda block: _order(block[-1]))


def _order(query: Query) -> tuple[bytes, bytes]:
    return query.token_ids, query.type_ids


def _place(block: list[Query], query: Query) -> int:
    return bisect_left(block, _order(query), key=_order)
