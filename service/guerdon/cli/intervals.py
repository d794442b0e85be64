"""How far a share that was counted may be from the true one."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

Z_95 = 1.959963984540054
DRAWS = 4000

Interval = tuple[float, float]


def wilson(hits: float, count: int) -> Interval:
    """The 95 % Wilson score interval of a share of independent trials; everything where there are none."""
    if count == 0:
        return 0.0, 1.0
    share = hits / count
    scale = 1 + Z_95**2 / count
    middle = (share + Z_95**2 / (2 * count)) / scale
    half = Z_95 / scale * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == count else middle + half
    return low, high


def bootstrap(rows: Mapping[tuple[int, int], int], *, seed: int = 0) -> Interval:
    """The 95 % percentile interval of hits / trials, rows drawn anew with all their trials.

    ``rows`` counts rows by their (trials, hits), so that millions of rows take no more room than a few.
    """
    shapes = np.array(list(rows), dtype=np.float64)
    counts = np.array(list(rows.values()), dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(int(counts.sum()), counts / counts.sum(), size=DRAWS)
    trials, hits = (drawn @ shapes).T
    low, high = np.quantile(hits / trials, [0.025, 0.975])
    return float(low), float(high)


def percent(interval: Interval) -> str:
    """In words."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def around_mean(totals: Sequence[tuple[float, int]]) -> tuple[float, Interval | None]:
    """The mean of numbers, and its 95 % interval (normal), of which those of one row are not independent.

    ``totals`` are the rows' sums and counts. With a single row there is no interval.
    """
    count, rows = sum(of_row for _, of_row in totals), len(totals)
    mean = math.fsum(total for total, _ in totals) / count
    if rows < 2:
        return mean, None
    squares = math.fsum((total - mean * of_row) ** 2 for total, of_row in totals)
    half = Z_95 * math.sqrt(squares * rows / (rows - 1)) / count
    return mean, (mean - half, mean + half)
