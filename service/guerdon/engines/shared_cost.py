"""What a query adds to a batch in which common prefixes are computed once."""

from bisect import bisect_left, insort
from collections import defaultdict

from guerdon.domain.queries import Query, shared_tokens

Kind = tuple[str, tuple[int, ...], str]


def kind(query: Query) -> Kind:
    """What queries must agree in to share computation: the adapter, the layers, the pooling."""
    return query.adapter, query.layers, query.pooling


class SharedCost:
    """Counts a batch's tokens query by query. Unless the model ``shares`` prefixes, each query costs its length."""

    def __init__(self, *, shares: bool) -> None:
        self._shares = shares
        self._sorted: defaultdict[Kind, list[bytes]] = defaultdict(list)

    def added(self, query: Query) -> int:
        """The tokens to compute for the query, beside those of the queries added so far."""
        if not self._shares:
            return query.length
        ids = query.token_ids
        others = self._sorted[kind(query)]
        # In the order of their bytes, no sequence shares more with this one than a neighbour does.
        at = bisect_left(others, ids)
        return query.length - max((shared_tokens(ids, other) for other in others[max(at - 1, 0) : at + 1]), default=0)

    def add(self, query: Query) -> None:
        """Count the query in."""
        if self._shares:
            insort(self._sorted[kind(query)], query.token_ids)
