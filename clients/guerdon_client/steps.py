"""What a call does, step by step, without a socket or a clock: the shells that drive it have those."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from guerdon_client.errors import GuerdonError, refused
from guerdon_client.requests import Request
from guerdon_client.retries import Retries

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this, and send back what came of it."""

    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered. ``body`` is None where it was no JSON."""

    status: int
    body: Any
    retry_after_s: float | None = None

    def problem(self) -> GuerdonError | None:
        """The error that it tells of; None where it is a good answer."""
        if self.status == 200 and self.body is not None:
            return None
        return refused(self.body, self.status, self.retry_after_s)


Outcome = Reply | GuerdonError
Steps = Generator[Ask | Pause, Outcome | None, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one request is pursued, and how. ``now`` and ``draw`` are a clock and a source of chance."""

    timeout_s: float
    retries: Retries
    now: Callable[[], float]
    draw: Callable[[], float]


def answered(request: Request, patience: Patience) -> Steps[Any]:
    """The body of a good answer. Raises GuerdonError where none came within the budget."""
    deadline = patience.now() + patience.timeout_s
    for attempt in count(1):
        outcome = yield Ask(request, deadline - patience.now())
        assert outcome is not None
        problem = outcome if isinstance(outcome, GuerdonError) else outcome.problem()
        if problem is None:
            assert isinstance(outcome, Reply)
            return outcome.body
        left_s = deadline - patience.now()
        wait_s = patience.retries.wait_s(problem, attempt=attempt, left_s=left_s, drawn=patience.draw())
        if wait_s is None:
            raise problem
        yield Pause(wait_s)
    raise AssertionError
