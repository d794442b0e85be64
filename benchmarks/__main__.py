"""The command: chooses what to measure, measures it, and reports."""

import argparse
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.environments import PEERS, make_environment
from benchmarks.machine import describe
from benchmarks.models import make_models
from benchmarks.report import Report
from benchmarks.rows import rows
from benchmarks.stage import StageRun, say
from benchmarks.systems import Place
from benchmarks.workloads import DEFAULT_SCALE, STAGES, WORKLOADS, Stage, Workload

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"
EXTRAS = ("scale", "neighbours", "cache")
SMOKE = ("small", "hits", "scale", "neighbours")
SMOKE_SCALE = 0.02
HOME_TEAM = ("guerdon", "echo")
"""Always there; the others can be left out."""
GUESTS = (*PEERS, "padded")


def main() -> int:
    """Measure what the command line asks for."""
    given = _arguments()
    began = time.monotonic()
    report = Report(machine=describe(), scale=given.scale, began=datetime.now(UTC))
    for peer in _needed_peers(given):
        make_environment(peer, CACHE, given.pip_args)
    make_models(CACHE / "models")
    for stage in STAGES:
        wanted = [one for one in WORKLOADS if one.stage == stage.name and one.name in given.only]
        if wanted:
            _run_stage(_with_peers(stage, given.peers), wanted, given, report)
    _run_extras(given, report)
    report.seconds = time.monotonic() - began
    text = report.save(given.out)
    print(text.read_text())
    say(f"written to {text} (and .json, .png)")
    return 0


def _run_stage(stage: Stage, workloads: list[Workload], given: argparse.Namespace, report: Report) -> None:
    say(f"{stage.name}: {stage.model} in {stage.dtype}")
    asked = {name for workload in workloads for name in workload.systems}
    stage = Stage(
        name=stage.name,
        model=stage.model,
        dtype=stage.dtype,
        systems=tuple(system for system in stage.systems if system.name in asked),
    )
    place = Place(
        models=CACHE / "models",
        model=stage.model,
        dtype=stage.dtype,
        environments=CACHE,
        work=CACHE / "work" / stage.name,
    )
    shutil.rmtree(place.work, ignore_errors=True)
    with StageRun(stage, place) as run:
        run.start()
        for workload in workloads:
            run.run(workload, given.scale, given.rounds or workload.rounds)
    for workload in workloads:
        report.rows += rows(run.result, workload)
    report.matrix_rates[stage.model] = run.result.rates
    report.idle_cores |= {f"{stage.name}: {name}": cores for name, cores in run.result.idle_cores.items()}
    report.notes += run.result.notes


def _run_extras(given: argparse.Namespace, report: Report) -> None:
    if "scale" in given.only:
        from benchmarks.queued import measure_queued

        report.queued = measure_queued(CACHE, min(given.scale / DEFAULT_SCALE, 1.0))
    if "neighbours" in given.only:
        from benchmarks.neighbours import measure_neighbours

        report.neighbours = measure_neighbours(CACHE / "models", min(given.scale / DEFAULT_SCALE, 1.0))
    if "cache" in given.only:
        from benchmarks.shared_cache import measure_shared_cache

        report.cache = measure_shared_cache(CACHE, min(given.scale / DEFAULT_SCALE, 1.0))


def _needed_peers(given: argparse.Namespace) -> list[str]:
    """Those that are wanted and have a part in what is measured."""
    asked = {name for one in WORKLOADS if one.name in given.only for name in one.systems}
    have_part = {system.peer for stage in STAGES for system in stage.systems if system.name in asked}
    return [peer for peer in PEERS if peer in given.peers and peer in have_part]


def _with_peers(stage: Stage, peers: list[str]) -> Stage:
    systems = tuple(system for system in stage.systems if system.peer in (*HOME_TEAM, *peers))
    return Stage(name=stage.name, model=stage.model, dtype=stage.dtype, systems=systems)


def _arguments() -> argparse.Namespace:
    names = [*(workload.name for workload in WORKLOADS), *EXTRAS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--peers", default=",".join(GUESTS), help=f"some of {','.join(GUESTS)}; empty for none")
    parser.add_argument("--scale", type=float, default=DEFAULT_SCALE, help="how much of each workload")
    parser.add_argument("--rounds", type=int, help="instead of each workload's own number")
    parser.add_argument(
        "--smoke", action="store_true", help="a few minutes' run that shows whether the benchmark works"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where results are written")
    parser.add_argument("--pip-args", default="", help="for the peers' environments: where wheels come from")
    given = parser.parse_args()
    given.only, given.peers = _some(parser, given.only, names), _some(parser, given.peers, GUESTS)
    if not given.only or not given.scale > 0 or (given.rounds is not None and given.rounds < 1):
        parser.error("there is nothing to measure: --only names a part, --scale is above 0, --rounds at least 1")
    if given.smoke:
        given.only, given.peers, given.scale, given.rounds = list(SMOKE), ["padded"], SMOKE_SCALE, 1
        given.out = CACHE / "smoke"
    return given


def _some(parser: argparse.ArgumentParser, written: str, known: "list[str] | tuple[str, ...]") -> list[str]:
    names = [name for name in written.split(",") if name]
    strangers = [name for name in names if name not in known]
    if strangers:
        parser.error(f"unknown: {', '.join(strangers)}; known: {', '.join(known)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
