"""Two ways to get rewards: in this process, and from a running service."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from guerdon.cli.faults import Stopped
from guerdon.cli.rows import Json
from guerdon.domain.caller import CacheUse, Caller, calling
from guerdon.domain.errors import ServiceError
from guerdon.domain.limits import Limits
from guerdon.transport.native import NativeApi
from guerdon.transport.schemas import ScoreRequest
from guerdon_client import Client, GuerdonError

T = TypeVar("T")

DAY_S = 86_400.0
MAX_REQUEST_BYTES = 4 << 20
"""Larger requests are split: a service takes 8 MiB unless it is configured otherwise."""
STOPPING = frozenset({
    "cancelled", "deadline_exceeded", "not_guerdon", "overloaded", "slow_body", "unavailable",
    "unknown_model", "unknown_route", "unreachable", "unsupported_media", "wrong_method",
})  # fmt: skip
"""Codes that speak of the service, not of the row: no row is marked with them."""
PASSING = frozenset({"overloaded", "unavailable", "unreachable"})
"""Of these, those that waiting may cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is the same in every request. ``seed`` is for models that draw, of which it is among the ``uses``."""

    model: str
    aggregation: Json | None = None
    on_member_failure: str | None = None
    detail: str = "rewards"
    cache: CacheUse | None = None
    seed: int | None = None

    def options(self) -> Json:
        """As the body has it."""
        chosen = {
            "aggregation": self.aggregation, "on_member_failure": self.on_member_failure, "cache": self.cache,
            "seed": self.seed,
        }  # fmt: skip
        given = {key: value for key, value in chosen.items() if value is not None}
        return {"model": self.model, "detail": self.detail} | given


class Scoring(Protocol):
    """Rewards inputs."""

    async def score(self, inputs: Sequence[Json]) -> list[Json]:
        """One item of the answer's ``data`` per input, in order. Raises GuerdonError for the request as a whole."""
        ...


class Models(Scoring, Protocol):
    """Models that are loaded, or a service that runs."""

    def asked_as(self, request: Request) -> Scoring:
        """The same, asked with other options."""
        ...


class InProcess:
    """The models of this process."""

    def __init__(self, api: NativeApi, request: Request) -> None:
        self._api, self._request = api, request

    async def score(self, inputs: Sequence[Json]) -> list[Json]:
        """As long as it takes: nobody else waits for this process."""
        body = ScoreRequest.model_validate({"inputs": list(inputs), **self._request.options()})
        deadline = asyncio.get_running_loop().time() + DAY_S
        try:
            with calling(Caller(cache=body.cache)):
                answer = await self._api.score(body, request_id="cli", deadline=deadline)
        except ServiceError as error:
            raise GuerdonError(error.code, error.message, field=error.field) from error
        data: list[Json] = answer["data"]
        return data

    def asked_as(self, request: Request) -> "InProcess":
        """They stay loaded."""
        return InProcess(self._api, request)


class OverHttp:
    """A running service."""

    def __init__(self, client: Client, request: Request) -> None:
        self._client, self._request = client, request

    async def score(self, inputs: Sequence[Json]) -> list[Json]:
        """On a thread of its own, so that several requests are under way."""
        if len(inputs) > 1 and len(orjson.dumps(inputs)) > MAX_REQUEST_BYTES:
            raise GuerdonError("too_large", "too many rows for one request", field="body")
        answer = await on_thread(lambda: self._client.score_inputs(inputs, **self._request.options()))
        data: list[Json] = answer["data"]
        return data

    def asked_as(self, request: Request) -> "OverHttp":
        """Over the same connections."""
        return OverHttp(self._client, request)


class Steadfast:
    """Waits out what passes, and looks for the row at fault where a whole request failed. Raises Stopped."""

    def __init__(self, scoring: Scoring, *, patience_s: float = 60.0) -> None:
        self._scoring, self._patience_s = scoring, patience_s

    async def score(self, inputs: Sequence[Json]) -> list[Json]:
        """One item per input, in order: rewards, or the error of this very input."""
        try:
            return await self._patiently(inputs)
        except GuerdonError as error:
            if error.code in STOPPING and (error.code != "deadline_exceeded" or len(inputs) == 1):
                raise Stopped(f"no rewards any more: {error}{_hint(error)}") from error
            if len(inputs) == 1:
                return [{"error": {"code": error.code, "message": error.message, "field": error.field}}]
        half = len(inputs) // 2
        return [*await self.score(inputs[:half]), *await self.score(inputs[half:])]

    async def _patiently(self, inputs: Sequence[Json]) -> list[Json]:
        wait_s, until = 0.25, time.monotonic() + self._patience_s
        while True:
            try:
                return _of_rows_alone(await self._scoring.score(inputs))
            except GuerdonError as error:
                if error.code not in PASSING or time.monotonic() + wait_s > until:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, 10.0)


def unbounded(limits: Limits) -> Limits:
    """Limits for a process that has one caller, who bounds what is under way."""
    most = 1 << 62
    return limits.model_copy(update={"max_inputs": most, "max_responses": most, "queue_tokens": most})


async def on_thread(call: Callable[[], T]) -> T:
    """Run a blocking call. Unlike an executor's, its thread keeps nobody from leaving the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[Any], None], outcome: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))

    def run() -> None:
        try:
            deliver(future.set_result, call())
        except Exception as error:  # handed on to the one who waits, whatever it is
            deliver(future.set_exception, error)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _of_rows_alone(items: list[Json]) -> list[Json]:
    """The items. Raises GuerdonError where one of them speaks of the service."""
    for item in items:
        error = item.get("error")
        if error is not None and error["code"] in STOPPING:
            raise GuerdonError(error["code"], error["message"], field=error.get("field"))
    return items


def _hint(error: GuerdonError) -> str:
    if error.code == "deadline_exceeded":
        return " (one row alone takes longer than the service allows; see its limits.timeout_s)"
    return ""
