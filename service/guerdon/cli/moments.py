"""Means, deviations and correlations of numbers that come a few at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Moments:
    """First and second moments of vectors, without keeping any of them (Chan, Golub and LeVeque 1983)."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(size)
        self._products: Floats = np.zeros((size, size))

    def add(self, vectors: Sequence[Sequence[float]]) -> None:
        """Take in some vectors."""
        if not vectors:
            return
        block = np.asarray(vectors, np.float64)
        mean, count = block.mean(0), len(block)
        apart = mean - self.mean
        total = self.count + count
        centred = block - mean
        self._products += centred.T @ centred + np.outer(apart, apart) * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    @property
    def std(self) -> Floats:
        """Standard deviations, of the population."""
        deviations: Floats = np.sqrt(np.diag(self._products) / max(1, self.count))
        return deviations

    @property
    def correlations(self) -> Floats:
        """Pearson's, of every two; of a constant with anything else 0."""
        deviations = np.sqrt(np.diag(self._products))
        scale = np.where(deviations > 0, deviations, 1.0)
        found: Floats = self._products / np.outer(scale, scale)
        np.fill_diagonal(found, 1.0)
        return found


def independent(correlations: Floats) -> float:
    """How many independent members these are worth: k^2 over the sum of squared correlations.

    It is the participation ratio of the correlation matrix's eigenvalues, (sum)^2 / sum of squares: k where no two
    correlate, 1 where all say the same.
    """
    return float(len(correlations) ** 2 / (correlations**2).sum())
