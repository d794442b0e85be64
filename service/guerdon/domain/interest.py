"""Whether anybody still wants what a task computes; if nobody does, what of it goes on all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Interest:
    """That of the callers of one computation. What computes for them is told when the last of them has gone."""

    def __init__(self) -> None:
        self._told: list[Callable[[], bool]] = []

    def lost(self) -> bool:
        """Nobody waits any more. True if something goes on that cannot be stopped: it is to be finished, and kept."""
        return any([give_up() for give_up in self._told])

    @contextmanager
    def felt(self) -> Iterator[None]:
        """What the block asks for is asked on these callers' behalf."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Interest | None] = ContextVar("interest", default=None)


@contextmanager
def while_wanted(give_up: Callable[[], bool]) -> Iterator[None]:
    """Within the block, call this when nobody waits any more: it stops what it can, and says if something goes on."""
    interest = _current.get()
    if interest is None:
        yield
        return
    interest._told.append(give_up)
    try:
        yield
    finally:
        interest._told.remove(give_up)
