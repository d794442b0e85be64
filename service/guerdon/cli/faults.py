"""Why a command could not do what it was asked."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from guerdon.domain.strict import nearest


class CannotRun(Exception):
    """A file, an address or an option that does not do; the message says what would."""


class Stopped(CannotRun):
    """Rewards stopped coming for a reason that passes: what is written stands, and the rest can follow later."""


def unknown(what: str, word: str, known: Iterable[str]) -> CannotRun:
    """Something was named that is not there."""
    known = list(known)
    near = nearest(word, known)
    return CannotRun(f"no {what} {word}; " + (f"did you mean {near}?" if near else f"there are: {', '.join(known)}"))


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the system says of a file into CannotRun."""
    try:
        yield
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror or 'cannot be read'}") from error
