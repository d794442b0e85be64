"""What comes back: scores, and the errors that stand in their place."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from guerdon.domain.errors import ServiceError

Report = Mapping[str, Any]
"""How a score came about, as JSON: a judge's votes, and what it wrote. Never changed once it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One scorer's opinion of one sample. Higher is better; never NaN or infinite.

    ``values[i][k]`` is what head k says of response i; most scorers have one head. ``truncated[i]``
    tells whether the model read response i only in part. ``tokens`` is what the model was asked
    to read, ``cached`` whether it was spared doing so. ``report`` tells how the score came about, where a scorer has
    more to tell than a number.
    """

    values: tuple[tuple[float, ...], ...]
    truncated: tuple[bool, ...]
    tokens: int = 0
    cached: bool = False
    report: Report | None = None

    def __post_init__(self) -> None:
        if len(self.values) != len(self.truncated):
            raise ValueError(f"{len(self.values)} scores for {len(self.truncated)} responses")
        for value in (value for row in self.values for value in row):
            if not math.isfinite(value):
                raise ValueError(f"a score may not be {value}")

    def each(self) -> list[Self]:
        """The score of each response by itself; the tokens are the first one's."""
        return [
            replace(self, values=(row,), truncated=(cut,), tokens=0 if index else self.tokens)
            for index, (row, cut) in enumerate(zip(self.values, self.truncated, strict=True))
        ]


Outcome = Score | ServiceError
"""One per sample, in the order asked."""
