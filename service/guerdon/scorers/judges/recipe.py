"""What a judge's recipe is asked, and what it says."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.samples import Sample

Ask = Callable[[Chat], Awaitable[Generation]]
"""Asks the model, within the time that is left. Raises ServiceError."""

Table = tuple[tuple[float, ...], ...]


class Unparsable(Exception):
    """What the model wrote holds no verdict that can be taken as it stands; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One verdict on a sample's responses, in the order of the sample. Higher is better.

    ``rationale`` is what the model wrote. ``preferences[i][j]`` is the probability that response i is better than j,
    where the recipe compares; its diagonal is not looked at. ``more`` is what else the recipe tells, as JSON.
    """

    scores: tuple[float, ...]
    rationale: str = ""
    preferences: Table | None = None
    more: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.scores)):
            raise ValueError(f"a score may not be among {self.scores}")


class Recipe(Protocol):
    """How one vote is had.

    ``uses`` are the optional fields of a sample that it reads. A ``set_wise`` recipe is given all responses of a
    sample at once, and at least ``least`` of them; another one, a response at a time. ``floor`` is the lowest score
    that it gives, and what a response gets that the guard refuses to show to the model.
    """

    uses: frozenset[str]
    set_wise: bool
    least: int
    floor: float

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts: its version, its prompt's text, its settings."""
        ...

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """A vote; ``seed`` decides all that varies between votes. Raises Unparsable, or ServiceError."""
        ...
