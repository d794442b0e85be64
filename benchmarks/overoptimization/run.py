"""Runs a set-up from the first word to the curves; what was scored is kept, so a run that was stopped goes on."""

import hashlib
import shutil
import time
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.overoptimization.curves import SINGLE, WCO, curves
from benchmarks.overoptimization.report import Part, Report
from benchmarks.overoptimization.scored import Scored, World
from benchmarks.overoptimization.settings import MAIN, Condition, Setup

MAKING_SCORES = ("gold", "members", "pairs", "policy", "scored", "served")


def run(setup: Setup, cache: Path) -> Report:
    """Every condition in every world. ``cache`` is where checkpoints are written and scores are kept."""
    began = time.monotonic()
    work = cache / _version_of(setup)
    found: dict[str, list[Scored]] = {condition.name: [] for condition in setup.conditions}
    earlier_s = 0.0
    for number in range(setup.worlds):
        world = World(setup, number)
        for condition in setup.conditions:
            scored, kept = _scored(world, condition, work / f"world{number}" / condition.name)
            earlier_s += kept * float(scored.train_s + scored.score_s)
            found[condition.name].append(scored)
    parts = [_part(condition, found[condition.name], setup, loops=True) for condition in setup.conditions]
    parts += [
        _part(condition, found[condition.name], setup, loops=False)
        for condition in setup.conditions
        if condition.name == MAIN.name
    ]
    seconds = time.monotonic() - began + earlier_s
    return Report(machine=describe(), setup=setup, parts=parts, seconds=seconds)


def _version_of(setup: Setup) -> str:
    """Of the set-up and of the code that makes scores of it: what was kept of another is of no use."""
    digest = hashlib.sha256(repr(setup).encode())
    for module in MAKING_SCORES:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()[:12]


def say(line: str) -> None:
    """Tell how it goes."""
    print(line, flush=True)


def _scored(world: World, condition: Condition, work: Path) -> tuple[Scored, bool]:
    """The condition's scores in this world, and whether an earlier run had them."""
    file = work / "scored.npz"
    if file.is_file():
        return Scored.load(file), True
    shutil.rmtree(work, ignore_errors=True)
    scored = world.scored(condition, work)
    scored.save(file)
    rate = scored.raw.size / float(scored.score_s)
    say(f"{work.parent.name} {condition.name}: trained in {float(scored.train_s):.0f} s, {rate:,.0f} scores/s")
    return scored, False


def _part(condition: Condition, worlds: list[Scored], setup: Setup, *, loops: bool) -> Part:
    part = Part(condition=condition, loops=loops, worlds=worlds, curves=curves(worlds, setup.counts, loops=loops))
    single, wco = part.curves[SINGLE], part.curves[WCO]
    say(
        f"{part.name}: single {single.peak.mean:.2f} -> {single.final.mean:.2f}, "
        f"wco {wco.peak.mean:.2f} -> {wco.final.mean:.2f}"
    )
    return part
