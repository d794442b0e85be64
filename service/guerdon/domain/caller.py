"""On whose behalf a request is answered, and what it may take from what is stored and leave there."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

CacheUse = Literal["off", "read", "write", "read-write"]
DEFAULT_TENANT = "default"
"""Of all callers, where there are no keys."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Callers of one tenant share stored scores; nobody else sees them, or how quickly they come."""

    tenant: str = DEFAULT_TENANT
    cache: CacheUse = "read-write"

    @property
    def reads(self) -> bool:
        """Whether stored scores, and those being computed for others, will do."""
        return self.cache in ("read", "read-write")

    @property
    def writes(self) -> bool:
        """Whether its scores are to be stored."""
        return self.cache in ("write", "read-write")


_ANYBODY = Caller()
_current: ContextVar[Caller] = ContextVar("caller", default=_ANYBODY)


def current() -> Caller:
    """The caller of the request at hand."""
    return _current.get()


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Answer what the block, and the tasks that it starts, ask on this caller's behalf."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)
