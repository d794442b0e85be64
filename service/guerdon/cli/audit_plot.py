"""An audit as a picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.cli.audit_figures import BASELINE, Figure, Reading
from guerdon.cli.audit_probes import ACCURACY
from guerdon.cli.audit_report import Audit, parts_of
from guerdon.cli.faults import CannotRun, readable

WHOLE, KIND, CONTEXT = "tab:blue", "tab:gray", "tab:green"


@dataclass(frozen=True, slots=True)
class _Line:
    """One share of the picture."""

    label: str
    figure: Figure
    colour: str
    is_probe: bool = False
    limit: float | None = None


def draw(audited: Audit, limits: Mapping[str, float], file: Path) -> None:
    """Every share with its interval, kinds below their probe, and what is allowed. Raises CannotRun."""
    try:
        from matplotlib.figure import Figure as Picture
    except ModuleNotFoundError as error:
        raise CannotRun("--plot needs matplotlib; run: pip install 'guerdon[plot]'") from error
    lines = [line for name, reading in audited.readings.items() for line in _lines(name, reading, limits)]
    picture = Picture(figsize=(8, 1.2 + 0.26 * len(lines)), layout="constrained")
    axes = picture.subplots()
    for at, line in enumerate(lines):
        _draw_line(axes, line, at)
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_color("black" if line.is_probe else KIND)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("share, in % (bars: 95 % intervals" + ("; red: --max)" if limits else ")"))
    axes.set_title(f"guerdon audit {audited.scorer}", loc="left")
    axes.grid(axis="x", alpha=0.3)
    with readable(file):
        try:
            picture.savefig(file, dpi=150)
        except ValueError as error:
            raise CannotRun(f"--plot {file}: {error}") from error


def _lines(name: str, reading: Reading, limits: Mapping[str, float]) -> Iterator[_Line]:
    if reading.whole.count:
        yield _Line(name, reading.whole, CONTEXT if name == ACCURACY else WHOLE, True, limits.get(name))
        for kind, figure in parts_of(name, reading).items():
            yield _Line(kind, figure, CONTEXT if kind == BASELINE else KIND)


def _draw_line(axes: Any, line: _Line, at: int) -> None:
    share, (low, high) = line.figure.share or 0.0, line.figure.interval()[0]
    around = [[100 * max(0.0, share - low)], [100 * max(0.0, high - share)]]
    size = 6 if line.is_probe else 4
    axes.errorbar(100 * share, at, xerr=around, fmt="o", color=line.colour, capsize=3, markersize=size)
    if line.limit is not None:
        axes.plot([100 * line.limit] * 2, [at - 0.45, at + 0.45], color="tab:red", linewidth=2)
