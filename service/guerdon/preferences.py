"""Comparisons of responses: probabilities, how sure an ensemble is of them, and who wins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly, and how unanimously, an ensemble prefers one response to another (arXiv 2401.06080, section 2).

    ``mean`` and ``std`` (of the population) are those of the members' margins, r(first) - r(second);
    ``agreement`` is the share of members on the side of the majority, 0.5 to 1, a margin of 0 counting half.
    """

    mean: float
    std: float
    agreement: float

    @classmethod
    def of(cls, margins: Sequence[float]) -> "Strength":
        """Of the members' margins, at least one."""
        favourable = fmean(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins)
        return cls(fmean(margins), pstdev(margins), max(favourable, 1 - favourable))


def bradley_terry(first: float, second: float) -> float:
    """The probability that the first is preferred, from two rewards that are logits: sigmoid(first - second)."""
    return 0.5 * (1 + math.tanh((first - second) / 2))


def win_rates(probabilities: Matrix) -> list[float]:
    """Each response's mean probability of being preferred to another one (SPO, arXiv 2401.04056).

    ``probabilities[i][j]`` is that of i over j; the diagonal is not looked at. There are at least two.
    """
    others = len(probabilities) - 1
    return [math.fsum(p for j, p in enumerate(row) if j != i) / others for i, row in enumerate(probabilities)]
