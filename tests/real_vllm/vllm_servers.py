"""Looks at the vLLM server behind a service."""

import os
import re
from pathlib import Path

import httpx


def server_group(running) -> int:
    """The process group of the service's vLLM server."""
    (leash,) = [pid for pid in running.child_pids() if b"vllm_leash" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return os.getpgid(leash)


def engine_of(group) -> int:
    """The process of the group that computes."""
    named = {int(path.parent.name): path.read_text() for path in Path("/proc").glob("[0-9]*/comm")}
    (engine,) = [pid for pid, name in named.items() if name.startswith("VLLM::Engine") and os.getpgid(pid) == group]
    return engine


def server_url(running) -> str:
    """Where that server answers, as it was started."""
    words = Path(f"/proc/{server_group(running)}/cmdline").read_bytes().split(b"\0")
    return f"http://127.0.0.1:{words[words.index(b'--port') + 1].decode()}"


def counter(url, name) -> float:
    """The sum of one of vLLM's metrics."""
    told = httpx.get(f"{url}/metrics", timeout=60).text
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in told.splitlines() if re.match(rf"vllm:{name}(_total)?\{{", line)
    )
