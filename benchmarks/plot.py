"""Draws sequences a second of every system on every workload."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.rows import Row

COLUMNS = 3
COLOURS = {
    "guerdon": "#1b6ca8",
    "guerdon-compiled": "#6fb1dd",
    "one-head": "#6fb1dd",
    "five-heads": "#1b6ca8",
    "one-model": "#6fb1dd",
    "five-models": "#1b6ca8",
    "vllm": "#d1751f",
    "vllm-uncached": "#e6b48a",
    "infinity": "#4f9d57",
    "padded": "#8c6bb1",
}
OTHER = "#7f7f7f"


def plot(rows: Sequence[Row], file: Path) -> None:
    """One panel a workload, one bar a system; whiskers from the slowest round to the fastest."""
    mpl.rcParams["font.size"] = 8
    panels = [(name, list(group)) for name, group in groupby(rows, lambda row: row.workload)]
    lines = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(12, 1.9 * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, COLUMNS, squeeze=False).flatten()
    for axis, (name, group) in zip(axes, panels, strict=False):
        _panel(axis, name, group)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle("sequences a second, median of rounds (whiskers: slowest and fastest)")
    figure.savefig(file, dpi=110)


def _panel(axis: Axes, name: str, group: Sequence[Row]) -> None:
    spreads = [row.sequences_per_s for row in group]
    heights = [spread.median for spread in spreads]
    whiskers = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
    names = [row.system for row in group]
    bars = axis.barh(names, heights, xerr=whiskers, color=[COLOURS.get(each, OTHER) for each in names], capsize=2)
    axis.bar_label(bars, fmt="%.3g", padding=3)
    axis.set_title(f"{name} ({group[0].dtype})", loc="left")
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.spines[["top", "right"]].set_visible(False)
