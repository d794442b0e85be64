"""Combines the scores of an ensemble's members into one reward."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from pydantic import Field

from guerdon.domain.strict import Strict

Method = Literal["mean", "wco", "uwo"]


class Aggregation(Strict):
    """How members become a reward.

    ``coefficient`` is the lambda of UWO. ``ddof`` is 0 for the population variance (the best-of-n
    experiments of arXiv 2310.02743) or 1 for the sample variance (its PPO runs).
    """

    method: Method = "uwo"
    coefficient: float = Field(0.5, ge=0, le=1000)
    ddof: Literal[0, 1] = 0


class Calibration(Strict):
    """A member's stored mean and standard deviation, measured once on known data."""

    mean: float
    std: float = Field(gt=0)

    def apply(self, score: float) -> float:
        """The z-score: 0 is an average response, 1 is one standard deviation better."""
        return (score - self.mean) / self.std


def variance(values: Sequence[float], ddof: int) -> float:
    """The members' variance; 0 for a single member, whatever the ddof."""
    if len(values) < 2:
        return 0.0
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - ddof)


def std(values: Sequence[float], ddof: int) -> float:
    """The members' standard deviation; 0 for a single member."""
    return math.sqrt(variance(values, ddof))


def aggregate(values: Sequence[float], how: Aggregation) -> float:
    """One reward from the calibrated scores of one response (arXiv 2310.02743, section 3.2).

    mean: the average. wco (worst-case optimisation): the minimum.
    uwo (uncertainty-weighted optimisation): mean - coefficient * variance.
    """
    if not values:
        raise ValueError("nothing to aggregate")
    match how.method:
        case "mean":
            return fmean(values)
        case "wco":
            return min(values)
        case "uwo":
            return fmean(values) - how.coefficient * variance(values, how.ddof)
