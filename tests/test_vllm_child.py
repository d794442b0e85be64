"""A vLLM server that is started here: watched, started anew, and never left behind; a stand-in runs in its place."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.domain.chat import Chat
from guerdon.domain.errors import DeadlineExceeded, NotServable, Unavailable
from guerdon.domain.events import WorkerDown
from guerdon.domain.samples import Message
from guerdon.engines import vllm_leash
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_settings import VllmSettings
from model_server import lives, stand_in

pytestmark = pytest.mark.alone

HELLO = Chat(messages=(Message("user", "Hello"),), max_tokens=16)


def settings_of(folder, **more):
    quick = {"hung_after_s": 20.0, "backoff_s": 0.05, "backoff_max_s": 0.2, "start_timeout_s": 120.0}
    python = str(stand_in(folder))
    return VllmSettings(
        **{"model": str(folder), "served_as": "judge", "runner": "generate", "python": python, **quick, **more}
    )


@contextlib.asynccontextmanager
async def started(folder, **more):
    """An engine with a stand-in for vLLM as its child; ``told`` are its events."""
    told = []
    engine = VllmEngine(settings_of(folder, **more), name="j", record=told.append)
    engine.told = told
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def within(seconds=60.0):
    return asyncio.get_running_loop().time() + seconds


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid):
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(folder):
    """Whether nothing is left of any life."""
    return not any(alive(pid) for life in lives(folder) for pid in life)


async def test_a_child_answers_and_nothing_of_it_is_left(tmp_path):
    """What it says is in its file; after close() it is gone with all that it started."""
    log = tmp_path / "vllm.log"
    log.write_text("an earlier start\n")
    async with started(tmp_path, args=("--seed", "7"), log=str(log)) as engine:
        assert engine.unready == "starting"
        await engine.ready()
        ((server, _),) = lives(tmp_path)
        assert (await engine.generate(HELLO, within())).text == str(server)
    assert gone(tmp_path)
    assert log.read_text().startswith("an earlier start\n")
    said = next(line for line in log.read_text().splitlines() if "stand-in starts" in line)
    for option in ("-m vllm.entrypoints.openai.api_server", "--host 127.0.0.1", "--runner generate", "--seed 7"):
        assert option in said


async def test_a_killed_child_is_started_anew_and_the_request_is_answered(tmp_path):
    """By the second life; the caller of the first notices nothing."""
    (tmp_path / "stuck").touch()
    async with started(tmp_path) as engine:
        await engine.ready()
        waits = asyncio.create_task(engine.generate(HELLO, within()))
        await until((tmp_path / "asked").exists)
        ((first, own),) = lives(tmp_path)
        os.kill(first, signal.SIGKILL)
        answer = await waits
        second = lives(tmp_path)[1][0]
        assert answer.text == str(second) != str(first)
        assert not alive(own)
        await until(lambda: WorkerDown("j", 0, "died") in engine.told)
    assert gone(tmp_path)


async def test_a_child_that_hangs_is_started_anew(tmp_path):
    """Requests end by their deadlines meanwhile."""
    async with started(tmp_path, hung_after_s=2.0) as engine:
        await engine.ready()
        first = lives(tmp_path)[0][0]
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await engine.generate(HELLO, within(0.5))
        await until(lambda: len(lives(tmp_path)) > 1)
        answer = await engine.generate(HELLO, within())
        assert answer.text == str(lives(tmp_path)[-1][0]) != str(first)
        assert WorkerDown("j", 0, "hung") in engine.told
        assert not alive(first)
    assert gone(tmp_path)


async def test_a_child_that_cannot_start_is_told_of_after_three_tries(tmp_path):
    """With the exception that it died of; it is tried on and on, and served once it lives."""
    (tmp_path / "broken").write_text("no kernel image for this device")
    async with started(tmp_path) as engine:
        with pytest.raises(NotServable, match="status 1 while it started: RuntimeError: no kernel image"):
            await engine.ready()
        assert engine.told.count(WorkerDown("j", 0, "failed_to_load")) == 3
        with pytest.raises(Unavailable, match="no kernel image"):
            await engine.generate(HELLO, within())
        (tmp_path / "broken").unlink()
        await until(lambda: engine.unready is None)
        assert (await engine.generate(HELLO, within())).text == str(lives(tmp_path)[0][0])
    assert gone(tmp_path)


async def test_an_interpreter_that_is_none(tmp_path):
    """Its name is told."""
    async with started(tmp_path, python=str(tmp_path / "nowhere")) as engine:
        with pytest.raises(NotServable, match="nowhere"):
            await engine.ready()


async def test_a_child_that_takes_too_long_to_start(tmp_path):
    """It is ended, too."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pids\nexec sleep 1000\n")
    slow.chmod(0o755)
    async with started(tmp_path, python=str(slow), start_timeout_s=1.0) as engine:
        with pytest.raises(NotServable, match="not ready within 1 s"):
            await engine.ready()
    assert gone(tmp_path)


GATEWAY = """
import asyncio, sys
from pathlib import Path
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_settings import VllmSettings

async def main():
    engine = VllmEngine(VllmSettings.model_validate_json(sys.argv[1]), name="j", record=lambda event: None)
    await engine.start()
    await engine.ready()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_nothing_is_left_of_a_child_whose_parent_is_killed(tmp_path):
    """The gateway has no time to say good-bye."""
    given = settings_of(tmp_path).model_dump_json()
    with subprocess.Popen([sys.executable, "-c", GATEWAY, given], stdout=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout.readline() == "ready\n"
            assert not gone(tmp_path)
        finally:
            gateway.kill()
    asyncio.run(until(lambda: gone(tmp_path)))


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_a_leash_tells_how_its_command_ended(command, status):
    """As a shell would; the parent is still there."""
    leashed = [sys.executable, "-I", vllm_leash.__file__, "sh", "-c", command]
    with subprocess.Popen(leashed, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        process.stdin.write(b"{}\n")
        process.stdin.flush()
        assert process.wait(60) == status
        assert process.stderr.read() == b""


def test_a_leash_lets_its_command_end_in_its_own_way(tmp_path):
    """Told to end, the command has time to do so, and the leash waits for it; its environment has what it was told."""
    done = tmp_path / "done"
    patient = f"trap 'touch {done}; exit 0' TERM; echo $WORD; while true; do sleep 0.05; done"
    leashed = [sys.executable, "-I", vllm_leash.__file__, "sh", "-c", patient]
    with subprocess.Popen(
        leashed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        process.stdin.write('{"WORD": "ready"}\n')
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
        assert done.exists()
