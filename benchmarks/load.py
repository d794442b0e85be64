"""The load client: sends prepared requests from a process of its own, and reports when each was answered."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

TIMEOUT_S = 1200.0


class Refused(Exception):
    """A server answered with another status than 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One POST. ``after_s`` is when it is sent at the earliest, counted from the first."""

    path: str
    body: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back, in the order sent: bodies, latencies and ends; ``seconds`` is the time from first to last.

    Of a request that was given up, the body is empty.
    """

    bodies: list[str]
    latencies_s: list[float]
    ended_s: list[float]
    seconds: float


def drive(url: str, requests: Sequence[Request], *, concurrency: int = 0, enough: int | None = None) -> Answers:
    """Send requests, at most ``concurrency`` at a time (0: all at once); give the rest up after ``enough`` answers.

    Raises Refused.
    """
    plan = {
        "url": url,
        "concurrency": concurrency or len(requests),
        "enough": len(requests) if enough is None else enough,
        "requests": [[request.path, request.body, request.after_s] for request in requests],
    }
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if client.returncode:
        raise Refused(client.stderr.strip().splitlines()[-1] if client.stderr.strip() else "the load client failed")
    report = json.loads(client.stdout)
    return Answers(**report)


class _Enough(Exception):
    """There are as many answers as are wanted."""


class _Client:
    """Workers take the next request, wait for its time, and send it."""

    def __init__(
        self, session: aiohttp.ClientSession, requests: Sequence[tuple[str, bytes, float]], enough: int
    ) -> None:
        self._session, self._requests, self._wanted = session, requests, enough
        self._left = iter(range(len(requests)))
        self._began = 0.0
        self.bodies = [""] * len(requests)
        self.latencies_s = [0.0] * len(requests)
        self.ended_s = [0.0] * len(requests)

    async def run(self, workers: int) -> float:
        """Send until there are enough answers; the seconds that took."""
        self._began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())
        except* _Enough:
            pass
        return time.perf_counter() - self._began

    async def _work(self) -> None:
        for index in self._left:
            path, body, after_s = self._requests[index]
            wait_s = self._began + after_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            sent = time.perf_counter()
            async with self._session.post(path, data=body) as answer:
                text = await answer.text()
            ended = time.perf_counter()
            self.latencies_s[index], self.ended_s[index] = ended - sent, ended - self._began
            if answer.status != 200:
                raise Refused(f"{path}: {answer.status} {text[:300]}")
            self.bodies[index] = text
            self._wanted -= 1
            if not self._wanted:
                raise _Enough


async def _send(plan: dict[str, Any]) -> dict[str, object]:
    requests = [(path, body.encode(), after_s) for path, body, after_s in plan["requests"]]
    async with aiohttp.ClientSession(
        str(plan["url"]),
        headers={"Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
    ) as session:
        client = _Client(session, requests, int(str(plan["enough"])))
        seconds = await client.run(int(str(plan["concurrency"])))
    return {
        "bodies": client.bodies,
        "latencies_s": client.latencies_s,
        "ended_s": client.ended_s,
        "seconds": seconds,
    }


def main() -> int:
    """Read a plan from standard input, write what came back to standard output."""
    status = 0
    try:
        json.dump(asyncio.run(_send(json.load(sys.stdin))), sys.stdout)
    except* (Refused, aiohttp.ClientError, TimeoutError) as faults:
        print(repr(faults.exceptions[0]), file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
