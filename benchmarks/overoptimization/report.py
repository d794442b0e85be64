"""Writes what was found: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.overoptimization.curves import SINGLE, WCO, Curve, Quantity, correlation
from benchmarks.overoptimization.scored import Scored
from benchmarks.overoptimization.settings import MAIN, Condition, Setup
from benchmarks.tables import table
from guerdon.best_of_n import kl_bound

NAME = "overoptimization"
METHOD_COLUMNS = ("method", "peak at n", "peak", "at the end", "fall", "gain", "above single", "of single's gain")
WORLD_QUANTITIES = ("at the end", "fall", "above single")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A condition's curves, with or without the responses that hold loops."""

    condition: Condition
    loops: bool
    worlds: Sequence[Scored]
    curves: Mapping[str, Curve]

    @property
    def name(self) -> str:
        """For programs."""
        return self.condition.name if self.loops else f"{self.condition.name}-without-loops"

    @property
    def title(self) -> str:
        """For people."""
        return self.condition.title if self.loops else f"{self.condition.title}, no loops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one run found. The first part is the main one."""

    machine: Machine
    setup: Setup
    parts: Sequence[Part]
    seconds: float

    def save(self, folder: Path) -> Path:
        """Write the JSON and the Markdown; the Markdown's path."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{NAME}.json").write_text(json.dumps(self.numbers(), indent=1, default=str) + "\n")
        text = folder / f"{NAME}.md"
        text.write_text(self.markdown())
        return text

    def numbers(self) -> dict[str, Any]:
        """All curves, world by world, with the set-up."""
        counts = self.setup.counts
        return {
            "machine": asdict(self.machine),
            "setup": asdict(self.setup),
            "seconds": self.seconds,
            "n": counts,
            "kl_bound": [kl_bound(count) for count in counts],
            "parts": {part.name: _part_numbers(part) for part in self.parts},
        }

    def markdown(self) -> str:
        """The whole report."""
        main = next((part for part in self.parts if part.name == MAIN.name), None)
        sections = [
            "# Over-optimisation, and what ensembles save of it",
            _run(self),
            f"![gold against divergence]({NAME}.png)",
            _LEGEND.format(end=f"{self.setup.counts[-1]:,}"),
            "## Expected and found" + "\n\n" + _expectations(main.curves) if main else "",
            *(_section(part) for part in self.parts),
        ]
        return "\n\n".join(filter(None, sections)) + "\n"


_LEGEND = """Gold is in units of its standard deviation over the policy's responses, from their mean; a prompt's curve
is the mean over all ways to choose n of its responses. The end is n = {end}. *Peak* is the mean over worlds of each
world's highest gold, *fall* that of the way from there to the end, *peak at n* where the mean over worlds is highest.
*Gain* is gold at the end less gold at n = 1, *above single* what is between the ends, *of single's gain* the gain as a
share of the single proxy's. In brackets: the 95 % interval over prompts (bootstrap within each world). How much depends
on the world is told by the worlds' own figures."""


def _run(report: Report) -> str:
    machine, scored = report.machine, [one for part in report.parts if part.loops for one in part.worlds]
    responses = sum(one.gold.size for one in scored)
    members, score_s = sum(one.raw.size for one in scored), sum(float(one.score_s) for one in scored)
    train_s, off_by = sum(float(one.train_s) for one in scored), max(float(one.off_by) for one in scored)
    return (
        f"{machine.cpu}, {machine.cores} cores, Python {machine.python}; {report.seconds / 60:.0f} minutes, "
        f"{train_s / 60:.0f} of them for data and training. The service scored {responses:,} responses with every "
        f"member ({members:,} scores) in {score_s / 60:.0f} minutes: {members / score_s:,.0f} scores a second. The "
        f"largest difference to transformers, where that was looked at, is {off_by:.1g}."
    )


def _expectations(curves: Mapping[str, Curve]) -> str:
    """What the paper and smaller studies led to expect, beside what was found."""
    single, wco = curves[SINGLE], curves[WCO]
    rows = [
        ("the single proxy falls by more than 0.1", single.fall, single.fall.mean > 0.1),
        ("wco falls by less than 0.05", wco.fall, wco.fall.mean < 0.05),
        ("wco ends more than 0.3 above the single proxy", wco.above(single), wco.above(single).mean > 0.3),
    ]
    cells = [[what, _told(found), _worlds(found), "yes" if held else "no"] for what, found, held in rows]
    return table(("expected", "found", "world by world", "held"), cells)


def _section(part: Part) -> str:
    accuracies = [float(one.accuracy.mean()) for one in part.worlds]
    alike = [correlation(one) for one in part.worlds]
    told = (
        f"{len(part.worlds)} worlds, {part.condition.prompts} prompts each. Members are right on "
        f"{', '.join(f'{one:.1%}' for one in accuracies)} of unseen pairs, and correlate at "
        f"{', '.join(f'{one:.2f}' for one in alike)}."
    )
    methods = [_method(name, curve, part.curves[SINGLE]) for name, curve in part.curves.items()]
    worlds = [_by_world(name, curve, part.curves[SINGLE]) for name, curve in part.curves.items()]
    by_world = table(("world by world", *WORLD_QUANTITIES), worlds)
    return "\n\n".join([f"## {part.title}", told, table(METHOD_COLUMNS, methods), by_world])


def _method(name: str, curve: Curve, single: Curve) -> list[str]:
    share = curve.gain.mean / single.gain.mean if single.gain.mean > 0 else None
    return [
        name,
        f"{curve.peak_count:,}",
        f"{curve.peak.mean:.2f}",
        _told(curve.final),
        _told(curve.fall),
        f"{curve.gain.mean:.2f}",
        "" if name == SINGLE else _told(curve.above(single)),
        "" if name == SINGLE or share is None else f"{share:.0%}",
    ]


def _by_world(name: str, curve: Curve, single: Curve) -> list[str]:
    above = "" if name == SINGLE else _worlds(curve.above(single))
    return [name, _worlds(curve.final), _worlds(curve.fall), above]


def _told(quantity: Quantity) -> str:
    return f"{quantity.mean:.2f} ({quantity.low:.2f} to {quantity.high:.2f})"


def _worlds(quantity: Quantity) -> str:
    return ", ".join(f"{one:.2f}" for one in quantity.worlds)


def _part_numbers(part: Part) -> dict[str, Any]:
    return {
        "condition": asdict(part.condition),
        "loops": part.loops,
        "accuracy": [one.accuracy.tolist() for one in part.worlds],
        "correlation": [correlation(one) for one in part.worlds],
        "looped_responses": [int(one.looped.sum()) for one in part.worlds],
        "off_by": [float(one.off_by) for one in part.worlds],
        "train_s": [float(one.train_s) for one in part.worlds],
        "score_s": [float(one.score_s) for one in part.worlds],
        "methods": {name: _curve_numbers(curve) for name, curve in part.curves.items()},
    }


def _curve_numbers(curve: Curve) -> dict[str, Any]:
    return {
        "gold_by_world": curve.worlds.tolist(),
        "reward_by_world": curve.proxy.tolist(),
        "gold": curve.mean.tolist(),
        "gold_95": curve.band.tolist(),
        "gold_at_the_end_by_prompt": curve.gold[:, :, -1].tolist(),
        "fall": asdict(curve.fall),
        "fall_of_mean": curve.fall_of_mean,
    }
