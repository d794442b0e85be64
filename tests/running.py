"""A running service: the real command in a process of its own, on a free loopback port."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml


@dataclass
class Running:
    """Where the service answers over HTTP and gRPC, its process, and what it printed."""

    url: str
    process: subprocess.Popen
    grpc: str = ""
    printed: list[str] = field(default_factory=list)

    def post(self, path, body, **options):
        return httpx.post(self.url + path, json=body, timeout=60, **options)

    @staticmethod
    def expresses(path, body):
        """Whether the body can be said over this transport: in JSON, anything."""
        return True

    def get(self, path):
        return httpx.get(self.url + path, timeout=60)

    def metric(self, name, **labels):
        """The sum over all series of this name that have these labels."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            if re.match(rf"{name}(\{{|\s)", line) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def child_pids(self):
        """Worker children, oldest first."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


@contextlib.contextmanager
def serving(
    config: dict | Path | None, folder: Path, *, seconds: float = 180, port: int = 0, grpc: bool = False
) -> Iterator[Running]:
    """Run ``guerdon serve``, with ``grpc`` over both; yields when it is ready. Stopped by its own handle."""
    command = [
        sys.executable,
        "-m",
        "guerdon.cli.main",
        "serve",
        "--port",
        str(port),
        *(["--grpc-port", "0"] if grpc else []),
    ]
    if isinstance(config, dict):
        path = folder / "guerdon.yaml"
        path.write_text(yaml.safe_dump(config))
        config = path
    if config is not None:
        command += ["--config", str(config)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    running = Running("", process)
    ready, ended = threading.Event(), threading.Event()

    def read():
        for line in process.stderr:
            running.printed.append(line)
            if match := re.search(r"listening on (http://\S+?),", line):
                running.url = match.group(1)
            if match := re.search(r"grpcs?://(\S+?),", line):
                running.grpc = match.group(1)
            if "guerdon: ready" in line:
                ready.set()
        ended.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(seconds), "".join(running.printed)
        assert not ended.is_set(), "".join(running.printed)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
        process.stderr.close()
