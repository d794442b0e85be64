"""Comparisons of responses: probabilities, how sure an ensemble is of them, and who wins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly, and how unanimously, an ensemble prefers one response to another (arXiv 2401.06080, section 2).

    ``mean`` and ``std`` (of the population) are those of the members' margins, r(first) - r(second);
    ``agreement`` is the share of members on the side of the majority, 0.5 to 1, a margin of 0 counting half.
    """

    mean: float
    std: float
    agreement: float


def strengths(scores: ArrayLike, pairs: Sequence[Sequence[int]]) -> list[Strength | None]:
    """Of each pair of responses; None where no member said something of both.

    ``scores`` [responses, members] are the members' calibrated scores, NaN where a member said nothing.
    """
    members = np.asarray(scores, np.float64)
    first, second = np.asarray(pairs, np.intp).reshape(-1, 2).T
    with np.errstate(over="ignore", invalid="ignore"):
        margins: Floats = members[first] - members[second]
        there: NDArray[np.bool_] = ~np.isnan(margins)
        count = np.maximum(there.sum(1), 1)
        margins = np.where(there, margins, 0.0)
        mean = margins.sum(1) / count
        std = np.sqrt(np.where(there, (margins - mean[:, None]) ** 2, 0.0).sum(1) / count)
        favourable = np.where(there, np.sign(margins) / 2 + 0.5, 0.0).sum(1) / count
    found = zip(mean.tolist(), std.tolist(), np.maximum(favourable, 1 - favourable).tolist(), strict=True)
    anybody: NDArray[np.bool_] = np.any(there, axis=1)
    return [Strength(*one) if any_there else None for one, any_there in zip(found, anybody, strict=True)]


def bradley_terry(rewards: ArrayLike) -> Floats:
    """The probability that each response is preferred to each other [responses, responses], from rewards as logits.

    sigmoid(first - second); 0.5 on the diagonal.
    """
    logits = np.asarray(rewards, np.float64)
    with np.errstate(over="ignore"):
        probabilities: Floats = 0.5 * (1 + np.tanh((logits[:, None] - logits[None]) / 2))
    return probabilities


def win_rates(probabilities: ArrayLike) -> list[float]:
    """Each response's mean probability of being preferred to another one (SPO, arXiv 2401.04056).

    ``probabilities[i][j]`` is that of i over j; the diagonal is not looked at. There are at least two.
    """
    table = np.array(probabilities, np.float64)
    np.fill_diagonal(table, 0.0)
    rates: list[float] = (table.sum(1) / (len(table) - 1)).tolist()
    return rates
