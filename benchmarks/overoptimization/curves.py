"""Curves of gold against n, for every way to make one reward of the members'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
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
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something of every world, and the 95 % interval of its mean over these worlds, were there other prompts."""

    worlds: tuple[float, ...]
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Over the worlds."""
        return fmean(self.worlds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The best of n by one method: its gold [worlds, prompts, counts], and the method's own reward [worlds, counts]."""

    counts: tuple[int, ...]
    gold: Floats
    proxy: Floats

    @property
    def worlds(self) -> Floats:
        """Gold of each world [worlds, counts]."""
        found: Floats = self.gold.mean(1)
        return found

    @property
    def mean(self) -> Floats:
        """Gold over the worlds [counts]."""
        found: Floats = self.worlds.mean(0)
        return found

    @property
    def band(self) -> Floats:
        """The 95 % interval of that [2, counts], over prompts."""
        return np.quantile(self._resampled().mean(1), (0.025, 0.975), axis=0)

    @property
    def final(self) -> Quantity:
        """Gold at the largest n."""
        return self._quantity(lambda curves: curves[..., -1])

    @property
    def gain(self) -> Quantity:
        """Gold at the largest n, less that of a response taken blindly."""
        return self._quantity(lambda curves: curves[..., -1] - curves[..., 0])

    @property
    def peak(self) -> Quantity:
        """The highest gold, at whichever n a world has it."""
        return self._quantity(lambda curves: curves.max(-1))

    @property
    def peak_count(self) -> int:
        """The n at which the mean over worlds is highest."""
        return self.counts[int(self.mean.argmax())]

    @property
    def fall(self) -> Quantity:
        """From each world's peak to the largest n."""
        return self._quantity(lambda curves: curves.max(-1) - curves[..., -1])

    @property
    def fall_of_mean(self) -> float:
        """From the peak of the mean over worlds to the largest n."""
        return float(self.mean.max() - self.mean[-1])

    def above(self, other: Self) -> Quantity:
        """How much higher it ends than another, prompt by prompt."""
        return replace(self, gold=self.gold - other.gold).final

    def _quantity(self, of: Callable[[Floats], Floats]) -> Quantity:
        """``of`` turns curves [.., worlds, counts] into numbers [.., worlds]."""
        low, high = np.quantile(of(self._resampled()).mean(1), (0.025, 0.975))
        return Quantity(tuple(of(self.worlds).tolist()), float(low), float(high))

    def _resampled(self) -> Floats:
        """Curves [resamples, worlds, counts] over prompts drawn anew within each world, the same for all methods."""
        worlds, prompts, _ = self.gold.shape
        shares = np.random.default_rng(0).multinomial(prompts, [1 / prompts] * prompts, (RESAMPLES, worlds)) / prompts
        found: Floats = np.einsum("rwp,wpc->rwc", shares, self.gold)
        return found


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
            gold, proxy = np.swapaxes(prompts, 0, 1)
            found[name].append((gold, proxy.mean(0)))
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
