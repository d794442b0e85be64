"""Servers of models: one that is started here and watched as a child, or one that answers at a URL."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TextIO

import httpx

from guerdon.domain.errors import NotServable, Unavailable
from guerdon.domain.events import WorkerDown, WorkerUp
from guerdon.domain.ports import Record
from guerdon.engines import vllm_leash
from guerdon.engines.vllm_settings import VllmSettings

log = logging.getLogger(__name__)

Ending = Literal["died", "hung", "failed_to_load"]

LOOKED_AFTER_S = 0.5
"""So often a server is asked whether it is well, while it starts and when it is under suspicion."""
WATCHED_EVERY_S = 5.0
LAST_WORDS = 400
"""Lines of a child's output that are kept for when it dies."""
GRACE_S = 5.0
TOLD_CHARACTERS = 300
_EXCEPTION = re.compile(r"(?:\b[A-Z]\w*(?:Error|Exception)|\berror): .+")
COMPACT = '{"backend": "xgrammar", "disable_any_whitespace": true}'
"""A weak model that may write blanks between the parts of a JSON object writes nothing else."""
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class ModelServer(Protocol):
    """Something that answers HTTP requests about one model, most of the time."""

    url: str
    ours: bool

    @property
    def life(self) -> int:
        """Counts the times that it came up."""
        ...

    @property
    def unready(self) -> str | None:
        """Why it cannot be asked now; None while it can."""
        ...

    async def start(self) -> None:
        """Begin to look after it; returns at once."""
        ...

    async def ready(self) -> None:
        """Wait until it can be asked for the first time. Raises NotServable when that can never be."""
        ...

    async def running(self) -> None:
        """Wait until it can be asked. Raises Unavailable where that will not be soon."""
        ...

    def suspect(self, life: int, *, sure: bool = False) -> None:
        """A connection to it broke in this life: look after it now. ``sure``: ask it nothing more before that."""
        ...

    async def close(self) -> None:
        """Look after it no more; end it if it is ours."""
        ...


class _Watched:
    """What both kinds have in common: whether the server is well, and who waits for that."""

    ours = False
    patience: int
    """So many failures in a row, and callers are refused at once."""

    def __init__(self, settings: VllmSettings, *, name: str, record: Record) -> None:
        self._settings, self._name, self._record = settings, name, record
        self.url = (settings.url or "").rstrip("/").removesuffix("/v1")
        self.life = 0
        self._up = asyncio.Event()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._suspected = asyncio.Event()
        self._not_servable: str | None = None
        self._reason = "starting"
        self._failures = 0
        self._told_up = False
        self._keeper: asyncio.Task[None] | None = None
        key = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        self._client = httpx.AsyncClient(headers=key, timeout=settings.hung_after_s, trust_env=False)

    @property
    def unready(self) -> str | None:
        """Why it cannot be asked now; None while it can."""
        if self._not_servable is not None:
            return self._not_servable
        return None if self._up.is_set() else self._reason

    async def start(self) -> None:
        """Begin to look after it; returns at once."""
        self._keeper = asyncio.create_task(self._keep())

    async def ready(self) -> None:
        """Wait until it can be asked for the first time. Raises NotServable when that can never be."""
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._settled.wait()
        except TimeoutError:
            waited = f"not ready within {self._settings.start_timeout_s:g} s (start_timeout_s)"
            raise NotServable(f"{self._name}: {waited}: {self._reason}") from None
        if self.unready is not None:
            raise NotServable(f"{self._name}: {self.unready}")

    async def running(self) -> None:
        """Wait until it can be asked. Raises Unavailable where that will not be soon."""
        while self._not_servable is not None or not self._up.is_set():
            if self._not_servable is not None or self._failures >= self.patience:
                raise Unavailable(f"{self._name}: {self.unready or self._reason}", retry_after_s=5.0)
            await self._changed.wait()

    def suspect(self, life: int, *, sure: bool = False) -> None:
        """A connection to it broke in this life: look after it now. ``sure``: ask it nothing more before that."""
        if life == self.life:
            self._suspected.set()
            if sure:
                self._up.clear()

    async def close(self) -> None:
        """Look after it no more; end it if it is ours."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._record(WorkerDown(self._name, 0, "closed"))
        await self._client.aclose()

    async def _keep(self) -> None:
        raise NotImplementedError

    def _refuse(self, reason: str) -> None:
        """It can never be asked; those who wait are told."""
        self._not_servable = reason
        self._settled.set()
        self._tell()

    def _tell(self) -> None:
        """Those who wait look again."""
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    def _came_up(self) -> None:
        self.life += 1
        self._failures = 0
        self._suspected.clear()
        self._settled.set()
        self._up.set()
        self._told_up = True
        self._tell()
        self._record(WorkerUp(self._name, 0))

    def _went_down(self, reason: str, ending: Ending) -> None:
        self._reason = reason
        if self._told_up or ending == "failed_to_load":
            self._record(WorkerDown(self._name, 0, ending))
            log.warning("engine.down engine=%s reason=%s told=%s", self._name, ending, reason)
        self._told_up = False
        self._up.clear()
        self._tell()

    async def _well(self) -> str | None:
        """What is wrong with it; None where it answers."""
        path = "/v1/models" if self._settings.server == "openai" else "/health"
        try:
            answer = await self._client.get(self.url + path)
        except httpx.TimeoutException:
            return f"no answer from {self.url}{path} within {self._settings.hung_after_s:g} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{self.url} cannot be reached: {str(error) or type(error).__name__}"
        return None if answer.is_success else f"{self.url}{path} answers {answer.status_code}"

    async def _serves_the_model(self) -> None:
        """Raises NotServable where the server knows no such model, or not the key; HTTPStatusError for the rest."""
        answer = await self._client.get(f"{self.url}/v1/models")
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            raise NotServable(f"{self.url}/v1/models answers {answer.status_code}: is the key right (api_key_file)?")
        answer.raise_for_status()
        known = [str(card.get("id")) for card in answer.json().get("data", [])]
        if self._settings.served_as not in known:
            raise NotServable(f"{self.url} serves no {self._settings.served_as}; it serves {', '.join(known)}")

    async def _wait(self) -> None:
        """Until the next look is due, or the server is under suspicion."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCHED_EVERY_S):
                await self._suspected.wait()
        self._suspected.clear()


class RemoteServer(_Watched):
    """A server at a URL, that somebody else keeps alive."""

    patience = 10

    async def _keep(self) -> None:
        while True:
            trouble = await self._well()
            if trouble is None and not self._up.is_set():
                try:
                    await self._serves_the_model()
                    self._came_up()
                except NotServable as error:
                    trouble = str(error)
                    if not self._settled.is_set():
                        self._refuse(trouble)
                        return
                except (httpx.HTTPError, ValueError, TypeError, AttributeError) as error:
                    trouble = f"{self.url}/v1/models: {error}"
            if trouble is not None:
                self._failures += 1
                self._went_down(trouble, "hung" if "no answer" in trouble else "died")
            await (self._wait() if self._up.is_set() else asyncio.sleep(LOOKED_AFTER_S))


class ChildServer(_Watched):
    """A vLLM server on the loopback interface, started anew whenever it dies or hangs."""

    ours = True
    patience = 3

    def __init__(self, settings: VllmSettings, *, name: str, record: Record) -> None:
        super().__init__(settings, name=name, record=record)
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=LAST_WORDS)

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._process.pid if self._process is not None else None

    async def _keep(self) -> None:
        wait_s = self._settings.backoff_s
        while True:
            started = asyncio.get_running_loop().time()
            ending, reason = await self._one_life()
            if ending == "failed_to_load":
                self._failures += 1
                if self._failures >= self.patience:
                    self._settled.set()
            lived_s = asyncio.get_running_loop().time() - started
            self._went_down(reason, ending)
            lived_well = ending != "failed_to_load" and lived_s > self._settings.backoff_max_s
            wait_s = self._settings.backoff_s if lived_well else min(2 * wait_s, self._settings.backoff_max_s)
            await asyncio.sleep(wait_s)

    async def _one_life(self) -> tuple[Ending, str]:
        """Start the server, and watch it until it ends; how it did, and why."""
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        try:
            self._said.clear()
            process = self._process = _spawn(command(self._settings, port), environment(self._settings))
        except OSError as error:
            return "failed_to_load", f"{self._settings.python}: {error.strerror or error}"
        listening = asyncio.create_task(asyncio.to_thread(self._listen, process))
        listening.add_done_callback(lambda _: self._suspected.set())  # it has ended, and need not be watched for that
        ending: Ending = "failed_to_load"
        try:
            trouble = await self._loaded(process)
            if trouble is None:
                self._said.clear()  # what it said while it started is no reason to end
                self._came_up()
                ending, trouble = await self._watched(process)
            ended = process.poll() is not None
        finally:
            self._up.clear()
            await _end(process, hung=ending == "hung")
            self._process = None
            await listening
        return ending, f"{trouble}: {self._last_words()}" if ended or ending == "died" else trouble

    async def _loaded(self, process: "subprocess.Popen[bytes]") -> str | None:
        """Wait until it answers; what is wrong if it never does."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.start_timeout_s
        while loop.time() < until:
            if process.poll() is not None:
                return f"the server ended with status {process.returncode} while it started"
            if await self._well() is None:
                return None
            await asyncio.sleep(LOOKED_AFTER_S)
        return f"the server was not ready within {self._settings.start_timeout_s:g} s (start_timeout_s)"

    async def _watched(self, process: "subprocess.Popen[bytes]") -> tuple[Ending, str]:
        """Return when it has died, or hangs."""
        while True:
            await self._wait()
            trouble = await self._well()
            if trouble is not None and "no answer" not in trouble and process.poll() is None:
                trouble = await self._second_look()
            if process.poll() is not None:
                return "died", f"the server ended with status {process.returncode}"
            if trouble is not None:
                return ("hung" if "no answer" in trouble else "died"), trouble
            self._up.set()
            self._tell()

    async def _second_look(self) -> str | None:
        """One bad moment is no reason to give up all that it works on; but nothing more is asked of it meanwhile."""
        self._up.clear()
        await asyncio.sleep(LOOKED_AFTER_S)
        return await self._well()

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """Keep what the server prints in its file, and its last words for ours."""
        assert process.stdout is not None
        with process.stdout as lines, self._log() as kept:
            for line in lines:
                said = line.decode(errors="replace").rstrip()
                if said:
                    self._said.append(said)
                    kept.write(f"{said}\n")
                    kept.flush()

    def _log(self) -> TextIO:
        """The file that its output goes to; nowhere if there is none."""
        return Path(self._settings.log or os.devnull).open("a", encoding="utf-8")

    def _last_words(self) -> str:
        """What of its output tells most: the first exception by name, else the last line."""
        grave = [line for line in self._said if " WARNING " not in line and " INFO " not in line]
        named = [match[0] for line in grave if (match := _EXCEPTION.search(line))]
        return (named or list(self._said)[-1:] or ["it said nothing"])[0][:TOLD_CHARACTERS]


def command(settings: VllmSettings, port: int) -> list[str]:
    """How vLLM is started. The module, as the package for CPUs brings no command of that name."""
    own = {
        "--model": settings.model,
        "--served-model-name": settings.served_as,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": settings.dtype,
        "--runner": settings.runner,
    }
    forms = {} if settings.runner == "pooling" else {"--structured-outputs-config": COMPACT}
    pooler = {"--pooler-config": '{"task": "token_classify"}'} if settings.per_token else {}
    flags = ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    python = settings.python or sys.executable
    return [
        *(python, "-m", "vllm.entrypoints.openai.api_server"),
        *(part for option in (own | forms | pooler).items() for part in option),
        *flags,
        *settings.args,
    ]


def environment(settings: VllmSettings) -> dict[str, str]:
    """What is added to ours: vLLM reports no usage, and asks no hub about a folder; then the user's own."""
    offline = {"HF_HUB_OFFLINE": "1"} if Path(settings.model).is_dir() else {}
    return QUIET | offline | dict(settings.env)


def _spawn(command: Sequence[str], more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """In a session of its own, and on a leash: it ends with all its children when it is told to, or when we die."""
    process = subprocess.Popen(
        [sys.executable, "-I", vllm_leash.__file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(dict(more)).encode() + b"\n")
    process.stdin.flush()
    return process


async def _end(process: "subprocess.Popen[bytes]", *, hung: bool) -> None:
    """End the server and whatever it has started; one that hangs would not hear a friendly word."""
    for number in (signal.SIGKILL,) if hung else (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.shield(asyncio.to_thread(process.wait, GRACE_S))
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def told(settings: VllmSettings) -> str:
    """The command as a person would type it, for `guerdon check`."""
    return " ".join(
        part if part.isprintable() and " " not in part else json.dumps(part) for part in command(settings, 0)
    )
