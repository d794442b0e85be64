"""How the service bears a long queue: its rate, and the memory that each queued response costs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.guerdon_system import Guerdon
from benchmarks.load import Request, drive
from benchmarks.servers import Server
from benchmarks.stage import say
from benchmarks.systems import Place, counter
from benchmarks.texts import Group, GroupShape, draw

SIZES = (1_000, 10_000, 100_000)
RESPONSES = 100
"""Of one request: ten requests under way at a time are a queue of a thousand responses."""
MEASURED = {"tiny": 300, "small": 60}
"""Requests that are answered while the time is taken, by model: one that hardly computes, so that the gateway is the
limit, and one that does. As many as are under way are answered before, and are still waiting at the end: the queue
neither fills nor drains meanwhile."""
SHAPE = GroupShape(prompt=8, responses=RESPONSES, shortest=4, longest=12)
SAMPLE_EVERY_S = 0.1


@dataclass(slots=True)
class Peak:
    """Most resident bytes seen, of the gateway and of its largest child, and most queries that waited for a worker."""

    gateway: int = 0
    worker: int = 0
    waiting: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)


def measure_queued(root: Path, scale: float) -> list[dict[str, Any]]:
    """One row for each queue length and model, one server a model."""
    sizes = [size for size in SIZES if size <= SIZES[-1] * scale] or SIZES[:1]
    rows = []
    for model in MEASURED:
        say(f"scale: a queue of many responses for the model {model}")
        place = Place(
            models=root / "models", model=model, dtype="float32", environments=root, work=root / "work" / "queued"
        )
        system = Guerdon()
        server = Server("guerdon", system.launch(place), place.work / "guerdon.log")
        try:
            server.wait()
            found = [_measured(system, server, model, size) for size in sizes]
        finally:
            server.stop()
        grown = [None, *(_bytes_per_further_response(shorter, longer) for shorter, longer in pairwise(found))]
        rows += [row | {"gateway_bytes_per_further_response": each} for row, each in zip(found, grown, strict=True)]
    return rows


def _measured(system: Guerdon, server: Server, model: str, size: int) -> dict[str, Any]:
    under_way, measured = size // RESPONSES, MEASURED[model]
    warming = draw(SHAPE, min(under_way, 20), f"warming {model} {size}")
    drive(server.url, _requests(system, warming), concurrency=under_way)
    groups = draw(SHAPE, under_way + measured + under_way, f"queued {model} {size}")
    with _watched(server) as peak:
        answers = drive(server.url, _requests(system, groups), concurrency=under_way, enough=under_way + measured)
    ends = sorted(end for end, body in zip(answers.ended_s, answers.bodies, strict=True) if body)
    seconds = ends[-1] - ends[under_way - 1]
    rate = measured * RESPONSES / seconds
    say(f"  a queue of {size}: {rate:,.0f} responses/s")
    return {
        "model": model,
        "queued_responses": size,
        "requests_under_way": under_way,
        "most_waiting_for_a_worker": int(peak.waiting),
        "responses": measured * RESPONSES,
        "seconds": seconds,
        "responses_per_s": rate,
        "worker_MiB_most": peak.worker / 2**20,
        "gateway_MiB_most": peak.gateway / 2**20,
    }


def _bytes_per_further_response(shorter: dict[str, Any], longer: dict[str, Any]) -> float:
    """What the gateway grew by for each response that the queue was longer."""
    grown: float = (longer["gateway_MiB_most"] - shorter["gateway_MiB_most"]) * 2**20
    return grown / float(longer["queued_responses"] - shorter["queued_responses"])


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
            peak.waiting = max(peak.waiting, counter(server.get("/metrics"), "guerdon_queue_items"))

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
