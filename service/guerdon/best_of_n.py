"""The best-of-n curve from N scored responses a prompt, without drawing any of them again."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def expected_best(proxy: Sequence[float], gold: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The mean gold reward of the response with the highest proxy reward among n, for every n of ``counts``.

    The unbiased estimator of Nakano et al. 2021 (arXiv 2112.09332, appendix I): the mean over all ways to choose n of
    the N responses, each n at most N. With ``gold`` = ``proxy`` it is the proxy's own curve. Of equal proxy rewards
    each is as often the best.
    """
    order = np.argsort(proxy, kind="stable")
    ranked = _without_ties(np.asarray(proxy, np.float64)[order], np.asarray(gold, np.float64)[order])
    return [float(best_weights(len(ranked), count) @ ranked) for count in counts]


def best_weights(total: int, count: int) -> Floats:
    """How probably each of ``total`` responses, worst first, is the best of ``count`` drawn without replacement.

    C(i - 1, n - 1) / C(N, n) for the i-th, as a running product of the ratios (i - n) / (i - 1), from the last.
    """
    if not 1 <= count <= total:
        raise ValueError(f"the best of {count} cannot be drawn from {total}")
    places = np.arange(total, count, -1, dtype=np.float64)
    weights = np.zeros(total)
    falling = np.cumprod(np.concatenate([[count / total], (places - count) / (places - 1)]))
    weights[count - 1 :] = falling[::-1]
    return weights


def kl_bound(count: int) -> float:
    """Ln n - (n - 1) / n nats: at least the divergence of best-of-n from the policy (arXiv 2401.01879)."""
    return math.log(count) - (count - 1) / count


def _without_ties(proxy: Floats, gold: Floats) -> Floats:
    """The gold rewards in the proxy's order, those of equal proxy rewards replaced by their mean."""
    _, first, size = np.unique(proxy, return_index=True, return_counts=True)
    means: Floats = np.repeat(np.add.reduceat(gold, first) / size, size)
    return means
