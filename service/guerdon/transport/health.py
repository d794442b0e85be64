"""Whether requests can be answered."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """``unready`` gives the reason per engine that cannot run now; ``started`` tells whether all ever could."""

    unready: Callable[[], dict[str, str]]
    started: Callable[[], bool]
