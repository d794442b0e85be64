"""Draws gold against the divergence from the policy."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.overoptimization.curves import MEAN, SINGLE, WCO, Curve
from guerdon.best_of_n import kl_bound

COLUMNS = 3
COLOURS = {SINGLE: "#c0392b", MEAN: "#7f7f7f", WCO: "#1b6ca8"}
UWO_COLOURS = ("#c9e3c4", "#a1cf9a", "#73b56e", "#46964a", "#1f6b2c")


def draw(panels: Sequence[tuple[str, Mapping[str, Curve]]], file: Path) -> None:
    """One panel a condition; before them, what the proxies themselves make of the first condition's choices."""
    mpl.rcParams["font.size"] = 8
    lines = -(-(len(panels) + 1) // COLUMNS)
    figure = Figure(figsize=(12, 3.2 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, COLUMNS, squeeze=False).flatten()
    for axis, (title, curves) in zip(axes[1:], panels, strict=False):
        _gold(axis, title, curves)
    _proxy(axes[0], *panels[0])
    for axis in axes[len(panels) + 1 :]:
        axis.set_visible(False)
    axes[1].legend(fontsize=7, loc="upper left")
    figure.savefig(file, dpi=110)


def _gold(axis: Axes, title: str, curves: Mapping[str, Curve]) -> None:
    """The mean over worlds; of the single proxy and wco with its interval and each world's curve."""
    colours = _colours(curves)
    for name, curve in curves.items():
        divergence = [kl_bound(count) for count in curve.counts]
        axis.plot(divergence, curve.mean, color=colours[name], label=name, linewidth=1.6)
        if name in (SINGLE, WCO):
            for world in curve.worlds:
                axis.plot(divergence, world, color=colours[name], linewidth=0.5, alpha=0.6)
            axis.fill_between(divergence, *curve.band, color=colours[name], alpha=0.15, linewidth=0)
    _named(axis, title, "gold (standard deviations)")


def _proxy(axis: Axes, title: str, curves: Mapping[str, Curve]) -> None:
    colours = _colours(curves)
    for name, curve in curves.items():
        axis.plot([kl_bound(count) for count in curve.counts], np.mean(curve.proxy, 0), color=colours[name])
    _named(axis, f"what is optimised: {title}", "the method's own reward")


def _named(axis: Axes, title: str, quantity: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel("ln n - (n - 1) / n, nats")
    axis.set_ylabel(quantity)
    axis.spines[["top", "right"]].set_visible(False)


def _colours(curves: Mapping[str, Curve]) -> dict[str, str]:
    others = [name for name in curves if name not in COLOURS]
    return COLOURS | dict(zip(others, UWO_COLOURS, strict=False))
