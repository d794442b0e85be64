"""Asks one server over HTTP: so many at a time, within the caller's time, its refusals as our errors."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from guerdon.domain import trace
from guerdon.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    Overloaded,
    ResponseTooLong,
    ServiceError,
    Unavailable,
    WorkerLost,
)
from guerdon.domain.events import BatchDone, Dropped, QueueChanged, Refused
from guerdon.domain.interest import while_wanted
from guerdon.domain.ports import Record
from guerdon.engines.vllm_calls import computed_tokens
from guerdon.engines.vllm_server import ModelServer

log = logging.getLogger(__name__)

TRIES = 3
"""A request that the server went down with is asked so often."""
RETRIES_PER_ANSWER = 0.1
"""Retries are a tenth of what is answered, in the long run: a server in trouble is not asked twice as often."""
MAX_SAVED_RETRIES = 10.0
TOLD_CHARACTERS = 300
"""So much of a server's own words goes into an error."""
TOO_LONG = ("context length", "maximum model length", "too long")
"""Words of servers whose model reads no more."""
ENGINE_DEAD = "EngineCore encountered an issue"
"""How vLLM answers for a moment after the process died that computes."""


class EngineDied(Exception):
    """The server still answers, but what computes behind it is gone."""


class VllmHttp:
    """Sends JSON and gives JSON back. What a server cannot answer now is asked again, within the caller's time."""

    def __init__(
        self, server: ModelServer, *, concurrency: int, max_waiting: int, api_key: str, name: str, record: Record
    ) -> None:
        self._server, self._name, self._record = server, name, record
        self._slots = asyncio.Semaphore(concurrency)
        self._concurrency, self._max_waiting = concurrency, max_waiting
        self._waiting = self._under_way = 0
        self._saved_retries = MAX_SAVED_RETRIES
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            timeout=None,  # every request has its caller's deadline
            trust_env=False,
        )

    async def post(self, path: str, body: Mapping[str, Any], deadline: float, *, items: int = 1) -> dict[str, Any]:
        """The answer to one request, for ``items`` queries. Raises ServiceError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline), self._slot(items):
                with while_wanted(lambda: True):  # it is finished, and kept
                    started = loop.time()
                    with trace.timed("forward"):
                        answer = await self._answered(path, orjson.dumps(body))
        except TimeoutError:
            self._record(Dropped(self._name, "deadline", items))
            raise DeadlineExceeded("no answer within the time allowed") from None
        tokens, computed = computed_tokens(answer)
        trace.current().tokens_computed += computed
        self._record(BatchDone(self._name, items, tokens, computed, loop.time() - started))
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def _slot(self, items: int) -> AsyncIterator[None]:
        """A turn among those under way. Raises Overloaded, or Cancelled where nobody waits for the answer any more."""
        if self._waiting + self._under_way >= self._concurrency + self._max_waiting:
            self._record(Refused(self._name, "queue_full", items))
            told = f"{self._waiting} requests wait for {self._name}; at most {self._max_waiting} (max_waiting)"
            raise Overloaded(told, retry_after_s=2.0)
        self._waits(1)
        acquiring = asyncio.ensure_future(self._slots.acquire())
        try:
            with trace.timed("queue"), while_wanted(lambda: not acquiring.cancel()):
                await acquiring
        except asyncio.CancelledError:
            if acquiring.done() and not acquiring.cancelled():
                self._slots.release()
            acquiring.cancel()
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            self._record(Dropped(self._name, "disconnect", items))
            raise Cancelled("the caller went away") from None
        finally:
            self._waits(-1)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._slots.release()

    def _waits(self, change: int) -> None:
        self._waiting += change
        self._record(QueueChanged(self._name, self._waiting, 0))

    async def _answered(self, path: str, body: bytes) -> dict[str, Any]:
        """Asked again where the server went down, or is busy, as long as that may help."""
        for tries_left in reversed(range(TRIES)):
            await self._server.running()
            life = self._server.life
            try:
                answer = await self._asked(path, body)
            except (httpx.TransportError, EngineDied) as error:
                self._server.suspect(life, sure=isinstance(error, EngineDied))
                if not tries_left or not (self._server.ours or self._retries()):
                    raise WorkerLost(f"{self._name}: the server went away while it was asked") from error
            except Unavailable:
                if not tries_left or not self._retries():
                    raise
            else:
                self._saved_retries = min(self._saved_retries + RETRIES_PER_ANSWER, MAX_SAVED_RETRIES)
                return answer
            await asyncio.sleep(0.05 * 2 ** (TRIES - tries_left))
        raise AssertionError("the last try returns or raises")

    def _retries(self) -> bool:
        """Whether another retry may be spent, which it then is."""
        if self._saved_retries < 1:
            return False
        self._saved_retries -= 1
        return True

    async def _asked(self, path: str, body: bytes) -> dict[str, Any]:
        try:
            answer = await self._client.post(
                self._server.url + path, content=body, headers={"Content-Type": "application/json"}
            )
        except httpx.DecodingError as error:
            raise EngineFailed(f"{self._name}: the server's answer cannot be decoded") from error
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR and ENGINE_DEAD.encode() in answer.content:
            raise EngineDied(_words(answer.content))
        if answer.status_code != httpx.codes.OK:
            raise refusal(answer.status_code, answer.content, answer.headers.get("Retry-After"), self._name)
        try:
            read = orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise EngineFailed(f"{self._name}: the server's answer is not JSON") from error
        if not isinstance(read, dict):
            raise EngineFailed(f"{self._name}: the server's answer is no object")
        return read


def refusal(status: int, body: bytes, retry_after: str | None, name: str) -> ServiceError:
    """Our error for a server's."""
    said = _words(body)
    told = f"{name}: the server refused ({status}): {said}"
    match status:
        case 400 | 413 | 422 if any(words in said for words in TOO_LONG):
            return ResponseTooLong(told)
        case 429 | 503:
            seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
            return (
                Unavailable(told, retry_after_s=seconds) if status == 503 else Overloaded(told, retry_after_s=seconds)
            )
        case 502 | 504:
            return Unavailable(told, retry_after_s=1.0)
    return EngineFailed(told)


def _words(body: bytes) -> str:
    """The message of an error body, or its beginning."""
    try:
        read = orjson.loads(body)
        inner = read.get("error", read) if isinstance(read, dict) else read
        said = inner.get("message", inner) if isinstance(inner, dict) else inner
    except orjson.JSONDecodeError:
        said = body.decode(errors="replace")
    return " ".join(str(said).split())[:TOLD_CHARACTERS]
