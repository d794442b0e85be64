"""From raw scores to what some protocols promise: numbers between 0 and 1."""

import math
from collections.abc import Sequence


def sigmoid(score: float) -> float:
    """1 / (1 + exp(-score)), for any finite score."""
    return 0.5 * (1 + math.tanh(score / 2))


def activated(scores: Sequence[float], activate: bool) -> list[float]:
    """A sigmoid of one score, the softmax of several; or the scores as they are."""
    if not activate:
        return list(scores)
    if len(scores) == 1:
        return [sigmoid(scores[0])]
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]
