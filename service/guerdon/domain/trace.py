"""Where one request's time and work went, added up as it passes through the stages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trace:
    """Seconds by stage, and tokens that were computed for this request."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens_computed: int = 0

    def add(self, stage: str, seconds: float) -> None:
        """Count time towards a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace:
    """The trace of the request at hand; outside of one, a trace that nobody reads."""
    return _current.get() or Trace()


@contextmanager
def traced() -> Iterator[Trace]:
    """Collect what the block, and the tasks that it starts, add."""
    trace = Trace()
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


class timed:
    """Count the block's wall-clock time towards a stage."""

    __slots__ = ("_stage", "_started")

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        current().add(self._stage, time.perf_counter() - self._started)
