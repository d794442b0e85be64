"""Python snippets for a judge, each in a process of its own that is shut off and limited.

With namespaces (the default; Linux 5.12 or newer, x86_64 or aarch64) a snippet has no network, sees none of the
machine's processes, and of its files only Python's own and the shared libraries, read-only; it writes to an empty
folder in memory. It may use 2 s of CPU, 256 MiB of memory, 4 MiB of files, and no other process or thread. What is not
held off is a fault of the kernel itself, most of whose calls stay open. With `isolation: limits` the limits are all
there is: such a snippet reads what the service's user may read, and reaches the network; it is for snippets that would
be run anyway.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Literal

from guerdon.domain.errors import NotServable
from guerdon.scorers.judges.tools_contract import ToolFailed

MOST_CHARACTERS = 10_000
MOST_OUTPUT = 64 << 10
AT_A_TIME = 2
CPU_S = 2
"""As in the child, which imports nothing of ours."""
GRACE_S = 2.0
CHECK_S = 30.0

Isolation = Literal["namespaces", "limits"]


class Snippets:
    """Runs snippets, a few at a time."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def run(self, snippet: str, seconds: float) -> str:
        """What a snippet prints, and its exit code where that is not 0. Raises ToolFailed."""
        _check(snippet)
        async with self._places:
            with tempfile.TemporaryDirectory(prefix="guerdon-", ignore_cleanup_errors=True) as folder:
                return _answer(*await _ran(snippet, _command(self._isolation, seconds), folder, seconds))

    def check(self) -> None:
        """See that a snippet runs on this machine. Raises NotServable."""
        if sys.platform != "linux":
            raise NotServable(_refusal(self._isolation, "it needs Linux"))
        command = _command(self._isolation, CHECK_S)
        with tempfile.TemporaryDirectory(prefix="guerdon-", ignore_cleanup_errors=True) as folder:
            try:
                done = subprocess.run(
                    command, input=b"print(6 * 7)", cwd=folder, env={}, capture_output=True, timeout=60, check=False
                )
                said = _answer(done.stdout, done.stderr)
            except (OSError, subprocess.SubprocessError, ToolFailed) as error:
                raise NotServable(_refusal(self._isolation, str(error))) from error
        if said != "42":
            raise NotServable(_refusal(self._isolation, f"Python does not start there: {said[-200:]}"))


def _refusal(isolation: Isolation, why: str) -> str:
    way_out = "; leave the tool out, or see `isolation`" if isolation == "namespaces" else ""
    return f"isolation `{isolation}` cannot be had on this machine: {why}{way_out}"


def _check(snippet: str) -> None:
    if len(snippet) > MOST_CHARACTERS:
        raise ToolFailed(f"the code is longer than {MOST_CHARACTERS} characters")
    if "\0" in snippet or not snippet.strip():
        raise ToolFailed("there is no code")


def _command(isolation: Isolation, seconds: float) -> tuple[str, ...]:
    child = str(files("guerdon.scorers.judges") / "tools_code_child.py")
    return (sys.executable, "-I", "-S", "-B", "-X", "utf8", child, isolation, str(seconds))


def _answer(output: bytes, report: bytes) -> str:
    """What a snippet printed, from that and from how it ended. Raises ToolFailed."""
    text = output.decode("utf-8", errors="replace").strip()
    match _ending(report):
        case {"code": 0}:
            return text or "(it printed nothing)"
        case {"code": int(code)} if code > 0:
            return f"{text}\n(exit code {code})".strip()
        case {"cpu_s": float(used)} if used > 0.9 * CPU_S:
            raise ToolFailed(f"it used more than {CPU_S} s of CPU time")
        case {"code": int(code)}:
            raise ToolFailed(f"it was ended by signal {-code}")
        case {"overdue": float(seconds)}:
            raise ToolFailed(f"it took longer than {seconds:g} s")
        case {"refused": str(why)}:
            raise ToolFailed(f"it could not be begun: {why}")
    raise ToolFailed("how it ended is not known")


def _ending(report: bytes) -> Any:
    try:
        return json.loads(report.splitlines()[0])
    except (IndexError, ValueError):
        return None


async def _ran(snippet: str, command: Sequence[str], folder: str, seconds: float) -> tuple[bytes, bytes]:
    """A child's output and its report. However this ends, the child has ended, too."""
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=folder, env={}, start_new_session=True
    )
    assert child.stdin and child.stdout and child.stderr
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            child.stdin.write(snippet.encode("utf-8", errors="replace"))
            child.stdin.close()
            return await _printed(child.stdout), await child.stderr.read(MOST_OUTPUT)
    except TimeoutError as error:
        raise ToolFailed(f"it took longer than {seconds:g} s") from error
    finally:
        await _ended(child)


async def _printed(stream: asyncio.StreamReader) -> bytes:
    printed = bytearray()
    while chunk := await stream.read(MOST_OUTPUT):
        printed += chunk
        if len(printed) > MOST_OUTPUT:
            raise ToolFailed(f"it printed more than {MOST_OUTPUT >> 10} KiB")
    return bytes(printed)


async def _ended(child: Process) -> None:
    """Have the child end its snippet and itself, and wait for it; where it does not, end all of its group."""
    # Not by the methods of `Process`: these look whether it has ended, and then asyncio never learns that it has.
    if child.returncode is None:
        _tell(os.kill, child, signal.SIGTERM)
    if not await _silent(child):
        _tell(os.killpg, child, signal.SIGKILL)
        await _silent(child)
        await child.wait()


def _tell(way: Callable[[int, int], None], child: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        way(child.pid, what)


async def _silent(child: Process) -> bool:
    """Whether nothing holds the ends of its pipes any more, nor will soon."""
    try:
        async with asyncio.timeout(GRACE_S):
            await child.communicate()
    except TimeoutError:
        return False
    return True
