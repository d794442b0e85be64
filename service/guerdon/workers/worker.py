"""What every worker offers, wherever its engine lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guerdon.domain.queries import Answer, Query


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers to one batch, the tokens computed for it, and the seconds that took."""

    answers: list[Answer]
    tokens: int
    bisections: int
    seconds: float


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

    async def run(self, queries: Sequence[Query]) -> Batch:
        """One answer per query, in order. Raises WorkerDied."""
        ...

    async def close(self) -> None:
        """Stop; running batches raise WorkerDied."""
        ...
