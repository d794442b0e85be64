"""What every worker offers, wherever its engine lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guerdon.domain.queries import Answer, Deliver, Query, Work


class Engine(Protocol):
    """What a worker hosts."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether a prefix that queries of one kind have in common is computed once."""
        ...

    def compute(self, queries: Sequence[Query], deliver: Deliver) -> Work:
        """Deliver one answer for each query, in any order, and count the work."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch cost, and the seconds it took."""

    work: Work
    seconds: float


class Once:
    """Hands on the first answer to each query, and tells in the end whether each had exactly one."""

    def __init__(self, asked: int, deliver: Deliver) -> None:
        self._open, self._deliver = set(range(asked)), deliver
        self._stray = 0

    def deliver(self, index: int, answer: Answer, computed: int) -> None:
        """Hand the answer on, unless its query has one already or was never asked."""
        if index not in self._open:
            self._stray += 1
            return
        self._open.remove(index)
        self._deliver(index, answer, computed)

    def check(self) -> None:
        """Raises ValueError unless each query was answered exactly once."""
        if self._open or self._stray:
            raise ValueError(f"{len(self._open)} queries without an answer, {self._stray} answers to no query")


class WorkerDied(Exception):
    """The worker went down with this batch; another try may well succeed.

    ``computing`` tells whether it was at work on the batch, or only held it in waiting.
    """

    def __init__(self, message: str, *, computing: bool = False) -> None:
        super().__init__(message)
        self.computing = computing


class Worker(Protocol):
    """Runs batches on one engine, up to ``slots`` of them at a time."""

    slots: int

    async def start(self) -> None:
        """Begin loading; returns at once."""
        ...

    async def ready(self) -> None:
        """Wait until batches can be run. Raises NotServable when that can never be."""
        ...

    @property
    def failing(self) -> str | None:
        """Why the worker cannot run batches and will not soon; None while it can, or starts."""
        ...

    @property
    def up(self) -> bool:
        """Whether batches can be run now."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether a prefix that queries of one kind have in common is computed once; known from when it is ready."""
        ...

    async def run(self, queries: Sequence[Query], deliver: Deliver) -> Batch:
        """Deliver each query's answer, once, the moment it is there. Raises WorkerDied, perhaps after some of them."""
        ...

    async def close(self) -> None:
        """Stop; running batches raise WorkerDied."""
        ...
