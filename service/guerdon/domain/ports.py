"""The seams: what each layer asks of the one below it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.events import Event
from guerdon.domain.queries import Answer, Query
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome

Record = Callable[[Event], None]
"""Where events go. Must be cheap and must not raise."""


class Stage(Protocol):
    """Turns samples into outcomes: one per sample, in the order given."""

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """Score until ``deadline``, a time of the event loop's clock."""
        ...


class Engine(Protocol):
    """Answers queries: one answer each, in the order given. Knows nothing of rewards."""

    async def answer(self, queries: Sequence[Query], deadline: float) -> list[Answer]:
        """Answer until ``deadline``, a time of the event loop's clock."""
        ...


class Generator(Protocol):
    """A generative model."""

    async def generate(self, chat: Chat, deadline: float) -> Generation:
        """Go on with the conversation until ``deadline``, a time of the event loop's clock. Raises ServiceError."""
        ...


def ignore(event: Event) -> None:
    """A `Record` for those who watch nothing."""
