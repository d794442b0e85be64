"""Writes what was found: a table for people, JSON for programs, a picture for both."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.rows import Row
from benchmarks.tables import table

COLUMNS = (
    "system",
    "sequences/s",
    "min-max",
    "tokens/s",
    "p50",
    "p99",
    "ratio",
    "of matrix rate",
    "tokens computed",
    "off by",
    "others' cores",
)
RATED = ("float32", "bfloat16")


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything one run found."""

    machine: Machine
    scale: float
    began: datetime
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    matrix_rates: dict[str, dict[str, float]] = field(default_factory=dict)
    idle_cores: dict[str, float] = field(default_factory=dict)
    queued: list[dict[str, Any]] = field(default_factory=list)
    neighbours: list[dict[str, Any]] = field(default_factory=list)
    cache: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        """Write the JSON, the Markdown and the plot; the Markdown's path."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self.began:%Y-%m-%d}-{self.machine.slug}"
        (folder / f"{stem}.json").write_text(json.dumps(asdict(self), indent=1, default=str) + "\n")
        text = folder / f"{stem}.md"
        text.write_text(self.markdown(f"{stem}.png"))
        if self.rows:
            from benchmarks.plot import plot

            plot(self.rows, folder / f"{stem}.png")
        return text

    def markdown(self, picture: str) -> str:
        """The whole report."""
        parts = [
            f"# Benchmark of {self.began:%Y-%m-%d}",
            _machine(self.machine, self.scale, self.seconds),
            _rates(self.matrix_rates),
        ]
        if self.rows:
            parts.append(f"![sequences a second]({picture})")
        for name, group in groupby(self.rows, lambda row: row.workload):
            parts.append(_workload(name, list(group)))
        extras = {"Queued items": self.queued, "Neighbours in a batch": self.neighbours, "Stored scores": self.cache}
        for title, found in extras.items():
            if found:
                cells = [[_plain(value) for value in one.values()] for one in found]
                parts.append(f"## {title}\n\n" + table([name.replace("_", " ") for name in found[0]], cells))
        if self.notes:
            parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"


def _machine(machine: Machine, scale: float, seconds: float) -> str:
    flags = ", ".join(machine.flags) or "no vector extensions worth naming"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cpu}, {machine.cores} cores ({flags}), {machine.memory_gib} GiB; {machine.system}; "
        f"Python {machine.python}; {versions}; commit {machine.commit}. Scale {scale:g}, {seconds / 60:.0f} minutes."
    )


def _workload(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    rated = "" if first.share_of == first.dtype else f", against the {first.share_of} matrix rate, which is higher here"
    heading = f"## {name}: {first.title} ({first.dtype}{rated})"
    return f"{heading}\n\n{table(COLUMNS, [_cells(row) for row in rows])}"


def _rates(rates: dict[str, dict[str, float]]) -> str:
    cells = [[model, *(f"{by_dtype[dtype] / 1e9:.1f}" for dtype in RATED)] for model, by_dtype in rates.items()]
    if not cells:
        return "Matrix rates were not measured."
    return "Linear layers alone (torch, each model's own shapes), in GFLOP/s:\n\n" + table(("model", *RATED), cells)


def _cells(row: Row) -> list[str]:
    rate = row.sequences_per_s
    return [
        row.system,
        _number(rate.median),
        f"{_number(rate.least)}-{_number(rate.most)}",
        _number(row.tokens_per_s.median),
        _time(row.p50_s),
        _time(row.p99_s),
        "-" if row.ahead is None else f"{row.ahead:.2f}x",
        "-" if row.share is None else f"{row.share:.0%}",
        "-" if row.computed is None else f"{row.computed:.2f}x",
        "-" if row.largest_difference is None else f"{row.largest_difference:.1g}",
        f"{row.others_cores.median:.1f}",
    ]


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
