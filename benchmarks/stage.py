"""Runs a stage: its servers side by side, one computing at a time, round by round."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.disturbance import Meter
from benchmarks.load import Refused, Request, drive
from benchmarks.machine import matrix_rate
from benchmarks.models import SHAPES
from benchmarks.servers import NotStarted, Server
from benchmarks.systems import Place, System
from benchmarks.texts import Group, GroupShape, draw
from benchmarks.workloads import Stage, Workload

CHECKED = GroupShape(prompt=40, responses=4, shortest=8, longest=60)
CHECKED_GROUPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One system's one pass over a workload."""

    seconds: float
    groups: list[Group]
    latencies_s: list[float]
    computed_tokens: float | None
    others_cores: float


@dataclass(slots=True, kw_only=True)
class StageResult:
    """What a stage found. ``rounds`` are by workload and system; ``rates`` by dtype."""

    stage: Stage
    rounds: dict[tuple[str, str], list[Round]] = field(default_factory=dict)
    largest_difference: dict[str, float] = field(default_factory=dict)
    idle_cores: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class StageRun:
    """A stage under way; a context, so that its servers are stopped whatever happens."""

    def __init__(self, stage: Stage, place: Place) -> None:
        self._place = place
        self._encoder = SHAPES[stage.model].encoder
        self._systems: Mapping[str, System] = {system.name: system for system in stage.systems}
        self._servers: dict[str, Server] = {}
        self.result = StageResult(stage=stage)

    def __enter__(self) -> "StageRun":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()

    def start(self) -> None:
        """Start the servers one after the other, see which are restless, and compare their answers."""
        for name, system in self._systems.items():
            say(f"  starting {name}")
            server = Server(name, system.launch(self._place), self._place.work / f"{name}.log")
            try:
                server.wait()
            except NotStarted as error:
                server.stop()
                self._note(str(error))
                continue
            server.measure_idleness()
            self.result.idle_cores[name] = server.idle_cores
            self._servers[name] = server
            server.rest()
        for name in list(self._servers):
            self._compare(name)
        self.measure_rates()

    def measure_rates(self) -> None:
        """Matrix rates, the best so far: measured before and after each workload, when all servers rest."""
        for dtype in ("float32", "bfloat16"):
            rate = matrix_rate(SHAPES[self.result.stage.model], dtype)
            self.result.rates[dtype] = max(rate, self.result.rates.get(dtype, 0.0))

    def run(self, workload: Workload, scale: float, rounds: int) -> None:
        """All rounds of one workload, the systems taking turns."""
        for turn in range(rounds):
            for name in workload.systems:
                if name in self._servers:
                    self._turn(workload, name, scale, f"round {turn}")
        self.measure_rates()

    def _turn(self, workload: Workload, name: str, scale: float, seed: str) -> None:
        server = self._servers[name]
        server.wake()
        try:
            warming = workload.warming(name, scale, seed)
            drive(server.url, self._requests(name, warming), concurrency=workload.concurrency)
            measured = self._measured(workload, name, workload.draw(name, scale, seed))
        except (Refused, KeyError, ValueError, OSError) as error:
            self._note(f"{workload.name}: {name} failed: {error}")
            return
        finally:
            server.rest()
        self.result.rounds.setdefault((workload.name, name), []).append(measured)
        sequences = sum(len(group.responses) for group in measured.groups)
        say(f"  {workload.name:12} {name:14} {sequences / measured.seconds:9.2f} sequences/s")

    def _measured(self, workload: Workload, name: str, groups: list[Group]) -> Round:
        requests = self._requests(name, groups, workload.over_s)
        before, meter = self._computed_tokens(name), Meter(self._servers[name].processes)
        answers = drive(self._servers[name].url, requests, concurrency=workload.concurrency)
        others_cores, after = meter.others_cores(), self._computed_tokens(name)
        for group, body in zip(groups, answers.bodies, strict=True):
            self._rewards(name, body, len(group.responses))
        return Round(
            seconds=answers.seconds,
            groups=groups,
            latencies_s=answers.latencies_s,
            computed_tokens=after - before if before is not None and after is not None else None,
            others_cores=others_cores,
        )

    def _compare(self, name: str) -> None:
        """The largest difference between a server's rewards and transformers' on a few samples."""
        system, server = self._systems[name], self._servers[name]
        groups = draw(CHECKED, CHECKED_GROUPS, "checked")
        wanted = system.reference(self._place, groups)
        server.wake()
        try:
            answers = drive(server.url, self._requests(name, groups))
            found = [
                r for g, b in zip(groups, answers.bodies, strict=True) for r in self._rewards(name, b, len(g.responses))
            ]
        except (Refused, KeyError, ValueError) as error:
            self._note(f"{name} failed on the samples that are compared: {error}")
            return
        finally:
            server.rest()
        if wanted:
            gaps = [abs(one - other) for one, other in zip(found, wanted, strict=True)]
            self.result.largest_difference[name] = max(gaps)
            say(f"  {name:14} differs from transformers by at most {max(gaps):.2g}")

    def _rewards(self, name: str, body: str, responses: int) -> list[float]:
        """Raises ValueError unless there is a finite number for each response."""
        rewards = self._systems[name].rewards(body)
        if self._systems[name].peer != "echo" and (len(rewards) != responses or not all(map(math.isfinite, rewards))):
            raise ValueError(f"{responses} responses, but the rewards are {rewards[:5]} ...")
        return rewards

    def _requests(self, name: str, groups: Sequence[Group], over_s: float = 0.0) -> list[Request]:
        requests = []
        for index, group in enumerate(groups):
            path, body = self._systems[name].request(group, encoder=self._encoder)
            requests.append(Request(path=path, body=json.dumps(body), after_s=over_s * index / len(groups)))
        return requests

    def _computed_tokens(self, name: str) -> float | None:
        if self._systems[name].peer not in ("guerdon", "vllm"):
            return None
        return self._systems[name].computed_tokens(self._servers[name].get("/metrics"))

    def _note(self, note: str) -> None:
        say(f"  {note}")
        self.result.notes.append(f"{self.result.stage.name}: {note}")


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)
