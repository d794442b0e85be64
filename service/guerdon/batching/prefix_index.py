"""Finds the queries that begin as another does, among a hundred thousand."""

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge

from sortedcontainers import SortedDict

from guerdon.domain.queries import Query, shared_tokens
from guerdon.engines.shared_cost import Kind, kind

PASS_OVER = 16
"""So many neighbours that are no mates, and the search on their side ends."""


class PrefixIndex:
    """Distinct queries in the order of their tokens, by kind."""

    def __init__(self) -> None:
        self._kinds: defaultdict[Kind, _Neighbours] = defaultdict(_Neighbours)

    def add(self, query: Query) -> None:
        """Take in a query that is not there yet."""
        there = self._kinds[kind(query)]
        there.shortest = min(there.shortest, query.length) if there.queries else query.length
        there.queries[_order(query)] = query

    def remove(self, query: Query) -> None:
        """Take out a query that is there."""
        del self._kinds[kind(query)].queries[_order(query)]

    def mates(self, query: Query) -> Iterator[Query]:
        """Others that share at least half of their tokens with the query, those that share the most first.

        The index must not change meanwhile.
        """
        there = self._kinds[kind(query)]
        sides = (_mates(query, others, there.shortest / 2) for others in (there.before(query), there.after(query)))
        return (other for _, other in merge(*sides, key=lambda found: -found[0]))


class _Neighbours:
    """Queries of one kind. None is shorter than ``shortest``: the length of the shortest since there was none."""

    def __init__(self) -> None:
        self.queries: SortedDict[tuple[bytes, bytes], Query] = SortedDict()
        self.shortest = 0

    def before(self, query: Query) -> Iterator[Query]:
        """Those before the query, the nearest first."""
        nearest_first = self.queries.irange(maximum=_order(query), inclusive=(True, False), reverse=True)
        return map(self.queries.__getitem__, nearest_first)

    def after(self, query: Query) -> Iterator[Query]:
        """Those after the query, the nearest first."""
        return map(self.queries.__getitem__, self.queries.irange(minimum=_order(query), inclusive=(False, True)))


def _mates(query: Query, others: Iterator[Query], least: float) -> Iterator[tuple[int, Query]]:
    """Of the others, in order of growing distance, the mates that share at least ``least`` tokens, each with these."""
    shared = query.length  # never rises: what lies between two sequences shares at least what they do
    passed_over = 0
    for other in others:
        half = other.length / 2
        if shared >= half:
            shared = shared_tokens(query.token_ids, other.token_ids)
        if shared < least or not shared:
            return
        if shared >= half:
            yield shared, other
            continue
        passed_over += 1
        if passed_over == PASS_OVER:
            return


def _order(query: Query) -> tuple[bytes, bytes]:
    return query.token_ids, query.type_ids
