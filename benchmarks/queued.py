"""How the service bears a long queue: its rate, and the memory that each queued response costs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.guerdon_system import Guerdon
from benchmarks.load import Request, drive
from benchmarks.servers import Server
from benchmarks.stage import say
from benchmarks.systems import Place
from benchmarks.texts import Group, GroupShape, draw

SIZES = (1_000, 10_000, 100_000)
RESPONSES = 100
"""Of one request: ten requests under way at a time are a queue of a thousand responses."""
FEWEST = 20_000
"""So many responses at least are asked for, however short the queue."""
SHAPE = GroupShape(prompt=8, responses=RESPONSES, shortest=4, longest=12)
SAMPLE_EVERY_S = 0.05


@dataclass(slots=True)
class Peak:
    """Most resident bytes seen, of the gateway and of its largest child."""

    gateway: int = 0
    worker: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


def measure_queued(root: Path, scale: float) -> list[dict[str, Any]]:
    """One row for each queue length, all on one server and a model that hardly computes."""
    say("scale: a queue of many responses")
    place = Place(
        models=root / "models", model="tiny", dtype="float32", environments=root, work=root / "work" / "queued"
    )
    system = Guerdon()
    server = Server("guerdon", system.launch(place), place.work / "guerdon.log")
    try:
        server.wait()
        sizes = [size for size in SIZES if size <= SIZES[-1] * scale] or SIZES[:1]
        return [_measured(system, server, size) for size in sizes]
    finally:
        server.stop()


def _measured(system: Guerdon, server: Server, size: int) -> dict[str, Any]:
    under_way = size // RESPONSES
    groups = draw(SHAPE, max(size, FEWEST) // RESPONSES, f"queued {size}")
    drive(server.url, _requests(system, draw(SHAPE, under_way, f"warming {size}")[:100]), concurrency=under_way)
    before = _resident(server)
    with _watched(server) as peak:
        answers = drive(server.url, _requests(system, groups), concurrency=under_way)
    rewarded = sum(len(system.rewards(body)) for body in answers.bodies)
    say(f"  a queue of {size}: {rewarded} responses in {answers.seconds:.1f} s")
    return {
        "queued_responses": size,
        "requests_under_way": under_way,
        "responses": rewarded,
        "seconds": answers.seconds,
        "responses_per_s": rewarded / answers.seconds,
        "gateway_MiB_before": before.gateway / 2**20,
        "gateway_MiB_most": peak.gateway / 2**20,
        "gateway_bytes_per_queued": max(0.0, (peak.gateway - before.gateway) / size),
        "worker_MiB_most": peak.worker / 2**20,
    }


def _requests(system: Guerdon, groups: list[Group]) -> list[Request]:
    asked = [system.request(group, encoder=False) for group in groups]
    return [Request(path=path, body=json.dumps(body)) for path, body in asked]


@contextmanager
def _watched(server: Server) -> Iterator[Peak]:
    """While the block runs, look at the server's memory again and again."""
    peak = Peak()

    def watch() -> None:
        while not peak.stop.wait(SAMPLE_EVERY_S):
            seen = _resident(server)
            peak.gateway, peak.worker = max(peak.gateway, seen.gateway), max(peak.worker, seen.worker)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        peak.stop.set()
        watcher.join()


def _resident(server: Server) -> Peak:
    gateway, *children = [process.memory_info().rss for process in server.processes()]
    return Peak(gateway=gateway, worker=max(children, default=0))
