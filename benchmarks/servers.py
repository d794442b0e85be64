"""Server processes: started, waited for, put to sleep while others are measured, and stopped."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 30.0
IDLE_CHECK_S = 2.0
RESTLESS = 0.01
"""A server that uses more of one core than this while nobody asks it anything would disturb its neighbours."""


class NotStarted(Exception):
    """The server ended before it was healthy, or never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started. ``{port}`` in the command is replaced; ``environment`` is added to this process's."""

    command: Sequence[str]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)


class Server:
    """A running server and the processes below it."""

    def __init__(self, name: str, launch: Launch, log: Path) -> None:
        self.name, self._launch = name, launch
        self._told_log = f"{log.parent.name}/{log.name}"
        self.port = _free_port()
        self.idle_cores = 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [part.replace("{port}", str(self.port)) for part in launch.command],
                env={**os.environ, **launch.environment},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._root = psutil.Process(self._process.pid)
        self._asleep: list[psutil.Process] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it is healthy. Raises NotStarted."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NotStarted(f"{self.name} ended with status {self._process.returncode}; see {self._told_log}")
            if _answers(self.url + self._launch.health):
                return
            time.sleep(0.2)
        raise NotStarted(f"{self.name} was not healthy after {START_TIMEOUT_S:.0f} s; see {self._told_log}")

    def get(self, path: str) -> str:
        """The text at a path."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return str(answer.read().decode())

    def processes(self) -> list[psutil.Process]:
        """The server's process, and those below it."""
        return [self._root, *self._root.children(recursive=True)]

    def rest(self) -> None:
        """Let others have the cores: a server that is restless while idle is stopped until `wake`."""
        if self.idle_cores > RESTLESS and not self._asleep:
            self._asleep = self.processes()
            for process in self._asleep:
                _signal(process, signal.SIGSTOP)

    def wake(self) -> None:
        """Undo `rest`."""
        for process in reversed(self._asleep):
            _signal(process, signal.SIGCONT)
        self._asleep = []

    def measure_idleness(self) -> None:
        """Find out how much of a core it uses while nobody asks it anything."""
        before = self._cpu_s()
        time.sleep(IDLE_CHECK_S)
        self.idle_cores = (self._cpu_s() - before) / IDLE_CHECK_S

    def stop(self) -> None:
        """Ask it to end, then make it."""
        self.wake()
        below = self.processes() if self._process.poll() is None else []
        _signal(self._root, signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(below, timeout=STOP_TIMEOUT_S / 3)
        for process in left:
            _signal(process, signal.SIGKILL)

    def _cpu_s(self) -> float:
        return float(sum(sum(process.cpu_times()[:2]) for process in self.processes()))


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
