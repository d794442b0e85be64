"""What comes back: scores, and the errors that stand in their place."""

import math
from dataclasses import dataclass

from guerdon.domain.errors import ServiceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One scorer's opinion of one sample. Higher is better; never NaN or infinite.

    ``values[i][k]`` is what head k says of response i; most scorers have one head. ``truncated[i]``
    tells whether the model read response i only in part. ``tokens`` is what the model was asked
    to read, ``cached`` whether it was spared doing so.
    """

    values: tuple[tuple[float, ...], ...]
    truncated: tuple[bool, ...]
    tokens: int = 0
    cached: bool = False

    def __post_init__(self) -> None:
        if len(self.values) != len(self.truncated):
            raise ValueError(f"{len(self.values)} scores for {len(self.truncated)} responses")
        for value in (value for row in self.values for value in row):
            if not math.isfinite(value):
                raise ValueError(f"a score may not be {value}")


Outcome = Score | ServiceError
"""One per sample, in the order asked."""
