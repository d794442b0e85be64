"""One forward pass over queries that want the same thing: what every way of making it offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from guerdon.domain.queries import Query


@dataclass(frozen=True, slots=True)
class Passed:
    """Answers [queries, numbers], the tokens computed for each query, and all that were, padding included."""

    answers: Tensor
    fresh: Sequence[int]
    tokens: int


class ForwardPass(Protocol):
    """Queries in, answers out. All queries of one call agree in adapter, layers and pooling."""

    shares_prefixes: bool
    side_by_side: bool
    """Whether several calls may run at a time."""

    def groups(self, queries: Sequence[Query], max_tokens: int | None, lanes: int) -> list[list[int]]:
        """Indexes of the queries that are best computed together, where so many passes can run side by side.

        A group of more than one query has at most ``max_tokens``.
        """
        ...

    def cost(self, queries: Sequence[Query]) -> int:
        """The tokens that one call would compute, padding included, were nothing known from before."""
        ...

    def __call__(self, queries: Sequence[Query]) -> Passed:
        """Compute one group."""
        ...

    def forget(self) -> bool:
        """Free what is kept from one call to the next; whether there was anything."""
        ...


def pooled_index(token_ids: Sequence[int], pad_to_skip: int | None = None) -> int:
    """Where a decoder's reward is read: the last token.

    With ``pad_to_skip``, the last token that is not that id, as transformers' own classes pool (0 if all are).
    """
    last = len(token_ids) - 1
    if pad_to_skip is None:
        return last
    return next((i for i in range(last, -1, -1) if token_ids[i] != pad_to_skip), 0)
