"""What stored scores save, and what a Redis that fails costs: one service for each case, in turns."""

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import redis.asyncio

from benchmarks.guerdon_system import Config, Guerdon, one_model
from benchmarks.load import Request, drive
from benchmarks.servers import Server
from benchmarks.stage import say
from benchmarks.systems import Place
from benchmarks.texts import Group, GroupShape, draw

ROUNDS = 5
RESPONSES, AT_ONCE = 16, 8
GROUPS = 40
ALONE = 200
"""Requests of one response, one at a time: their latencies tell what a failing Redis adds."""
SHAPE = GroupShape(prompt=16, responses=RESPONSES, shortest=8, longest=16)
LONE = GroupShape(prompt=16, responses=1, shortest=8, longest=16)
TOOLS = Path(__file__).parents[1] / "tests" / "tools" / "debian.sh"


@dataclass(frozen=True, slots=True)
class Case:
    """A service's stores: what it keeps itself, and which Redis it has. ``stored``: whether it has all it is asked."""

    name: str
    memory: bool = False
    redis: str | None = None
    stored: bool = False


CASES = (
    Case("no store"),
    Case("in memory", memory=True, stored=True),
    Case("in Redis", redis="up", stored=True),
    Case("Redis down", redis="down"),
    Case("Redis frozen", redis="frozen"),
)


def measure_shared_cache(root: Path, scale: float) -> list[dict[str, Any]]:
    """One row a case, and one for Redis by itself."""
    say("cache: stored scores, and a Redis that fails")
    groups, alone = draw(SHAPE, max(4, round(GROUPS * scale)), "cached"), draw(LONE, max(10, round(ALONE * scale)), "l")
    with ExitStack() as stack:
        up, frozen = (stack.enter_context(_redis(root / "work" / "cache" / name)) for name in ("up", "frozen"))
        urls = {"up": up.url, "down": f"redis://127.0.0.1:{_free_port()}", "frozen": frozen.url}
        servers = {case.name: stack.enter_context(_serving(root, case, urls)) for case in CASES}
        frozen.process.send_signal(signal.SIGSTOP)
        rates: dict[str, list[float]] = {case.name: [] for case in CASES}
        latencies: dict[str, list[float]] = {case.name: [] for case in CASES}
        bare: list[float] = []
        for turn in range(ROUNDS + 1):
            for name, server in servers.items():
                rate, waits = _round(server, groups, alone)
                if turn:  # the first stores, and trips the breakers
                    rates[name].append(rate)
                    latencies[name] += waits
            if turn:
                bare.append(asyncio.run(_bare(up.url)))
        frozen.process.send_signal(signal.SIGCONT)
    rows = [_row(case, rates[case.name], latencies[case.name], rates["no store"], bare) for case in CASES]
    return [*rows, {"case": "Redis alone (MGET)", "responses_per_s": median(bare)} | dict.fromkeys(list(rows[0])[2:])]


def _row(
    case: Case, rates: list[float], latencies: list[float], without: list[float], bare: list[float]
) -> dict[str, Any]:
    ordered = sorted(latencies)
    return {
        "case": case.name,
        "responses_per_s": median(rates),
        "times_no_store": median(rates) / median(without),
        "MGET_is_faster_by": median(bare) / median(rates) if case.stored else None,
        "alone_p50_ms": 1e3 * ordered[len(ordered) // 2],
        "alone_p99_ms": 1e3 * ordered[int(0.99 * len(ordered))],
    }


def _round(server: Server, groups: list[Group], alone: list[Group]) -> tuple[float, list[float]]:
    """Responses a second of groups, several at once; and the latencies of lone responses, one at a time."""
    server.wake()
    try:
        together = drive(server.url, _requests(groups), concurrency=AT_ONCE)
        single = drive(server.url, _requests(alone), concurrency=1)
    finally:
        server.rest()
    return len(groups) * RESPONSES / together.seconds, single.latencies_s


def _requests(groups: list[Group]) -> list[Request]:
    asked = [Guerdon().request(group, encoder=False) for group in groups]
    return [Request(path=path, body=json.dumps(body)) for path, body in asked]


@contextmanager
def _serving(root: Path, case: Case, urls: dict[str, str]) -> Iterator[Server]:
    """A service of one case, asleep."""

    def configure(place: Place) -> Config:
        shared = {} if case.redis is None else {"redis": {"url": urls[case.redis]}}
        return one_model(place) | {"cache": {"l1_bytes": "64MiB" if case.memory else 0} | shared}

    name = case.name.replace(" ", "-")
    place = Place(models=root / "models", model="small", dtype="float32", environments=root, work=root / "work" / name)
    server = Server(name, Guerdon(configure=configure, stores=True).launch(place), place.work / "guerdon.log")
    try:
        server.wait()
        server.rest()
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class _Redis:
    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def _redis(folder: Path) -> Iterator[_Redis]:
    """A redis-server of our own on a free port."""
    tool = ["redis-server", "redis-server", "redis-cli"]
    found = subprocess.run([str(TOOLS), *tool], check=True, capture_output=True, text=True).stdout.split()[-1]
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [f"{found}/redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"], stdout=log)
    try:
        time.sleep(1)
        yield _Redis(f"redis://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _bare(url: str) -> float:
    """Entries a second of nothing but MGET, as many keys at a time and calls at once as a service is asked for."""
    client = redis.asyncio.Redis.from_url(url)
    names = sorted([name async for name in client.scan_iter("guerdon:*")])
    calls = iter([names[start : start + RESPONSES] for start in range(0, len(names), RESPONSES)] * 10)

    async def caller() -> int:
        return sum([len(await client.mget(some)) for some in calls])

    began = time.perf_counter()
    fetched = sum(await asyncio.gather(*(caller() for _ in range(AT_ONCE))))
    seconds = time.perf_counter() - began
    await client.aclose()
    return fetched / seconds
