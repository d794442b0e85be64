"""Curves of gold against n, for every way to make one reward of the members'."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.overoptimization.policy import Floats
from benchmarks.overoptimization.scored import Scored
from benchmarks.overoptimization.settings import COEFFICIENTS
from guerdon.aggregation import Aggregation, Calibration, aggregate
from guerdon.best_of_n import expected_best

SINGLE, MEAN, WCO = "single", "mean", "wco"
METHODS: dict[str, Aggregation | None] = {
    SINGLE: None,
    MEAN: Aggregation(method="mean"),
    WCO: Aggregation(method="wco"),
    **{f"uwo {value:g}": Aggregation(method="uwo", coefficient=value) for value in COEFFICIENTS},
}
"""By name. The single proxy is each member by itself, its curves averaged over the members."""
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, two-sided 95 %, for 1 to 9 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity of every world. ``margin`` is half of the 95 % interval of its mean over worlds (Student's t)."""

    worlds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the worlds."""
        return fmean(self.worlds)

    @property
    def margin(self) -> float:
        """NaN for a single world, which says nothing of others."""
        count = len(self.worlds)
        return T_95[count - 2] * stdev(self.worlds) / count**0.5 if count > 1 else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The best of n by one method: its gold, and what the method itself makes of it [worlds, counts]."""

    counts: tuple[int, ...]
    gold: Floats
    proxy: Floats

    @property
    def mean(self) -> Floats:
        """Gold over the worlds [counts]."""
        found: Floats = self.gold.mean(0)
        return found

    @property
    def margin(self) -> Floats:
        """Half of the 95 % interval of that [counts]."""
        return np.array([Spread(tuple(column)).margin for column in self.gold.T.tolist()])

    @property
    def final(self) -> Spread:
        """Gold at the largest n."""
        return Spread(tuple(self.gold[:, -1].tolist()))

    @property
    def gain(self) -> Spread:
        """Gold at the largest n, less that of a response taken blindly."""
        return Spread(tuple((self.gold[:, -1] - self.gold[:, 0]).tolist()))

    @property
    def peak(self) -> Spread:
        """The highest gold, at whichever n a world has it."""
        return Spread(tuple(self.gold.max(1).tolist()))

    @property
    def peak_count(self) -> int:
        """The n at which the mean over worlds is highest."""
        return self.counts[int(self.mean.argmax())]

    @property
    def fall(self) -> Spread:
        """From each world's peak to the largest n."""
        return Spread(tuple((self.gold.max(1) - self.gold[:, -1]).tolist()))

    @property
    def fall_of_mean(self) -> float:
        """From the peak of the mean over worlds to the largest n."""
        return float(self.mean.max() - self.mean[-1])

    def above(self, other: Self) -> Spread:
        """How much higher it ends than another, world by world."""
        return Spread(tuple((self.gold[:, -1] - other.gold[:, -1]).tolist()))


def curves(worlds: Sequence[Scored], counts: tuple[int, ...], *, loops: bool = True) -> dict[str, Curve]:
    """Every method's curve. Without ``loops``, responses that hold one are left out."""
    found: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in METHODS}
    for scored in worlds:
        members = calibrated(scored.raw, scored.calibration_raw)
        kept = np.logical_or(loops, np.logical_not(scored.looped))
        for name, how in METHODS.items():
            prompts = [
                _prompt(one[keep], gold[keep], how, counts)
                for one, gold, keep in zip(members, scored.gold, kept, strict=True)
            ]
            gold, proxy = np.mean(prompts, axis=0)
            found[name].append((gold, proxy))
    return {
        name: Curve(counts=counts, gold=np.array([g for g, _ in each]), proxy=np.array([p for _, p in each]))
        for name, each in found.items()
    }


def calibrated(raw: Floats, measured: Floats) -> Floats:
    """Members' scores [.., members], z-scored by what they ``measured`` [responses, members] elsewhere."""
    scales = [Calibration(mean=float(column.mean()), std=float(column.std())) for column in measured.T]
    columns = [(raw[..., index] - scale.mean) / scale.std for index, scale in enumerate(scales)]
    return np.stack(columns, axis=-1)


def correlation(scored: Scored) -> float:
    """Of two members over the calibration's responses, on average over pairs of members."""
    table: NDArray[np.float64] = np.corrcoef(scored.calibration_raw.T)
    return float(table[np.triu_indices(len(table), 1)].mean())


def _prompt(members: Floats, gold: Floats, how: Aggregation | None, counts: tuple[int, ...]) -> Floats:
    """One prompt's gold and reward of the best of n [2, counts]. ``members`` are [responses, members]."""
    if how is None:
        return np.mean([_best(column, gold, counts) for column in members.T], axis=0)
    names = [str(index) for index in range(members.shape[1])]
    return _best(np.array(aggregate(members.tolist(), how.fitted(names), names)), gold, counts)


def _best(reward: Floats, gold: Floats, counts: tuple[int, ...]) -> Floats:
    return np.array([expected_best(reward, gold, counts), expected_best(reward, reward, counts)])
