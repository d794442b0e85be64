"""Watches every request from outside: its id, its timings, its count."""

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Literal, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guerdon.domain import trace
from guerdon.domain.errors import ServiceError
from guerdon.transport.errors import error_response

log = logging.getLogger(__name__)
Protocols = Literal["http", "grpc"]


class Requests(Protocol):
    """Where requests are counted."""

    def arrived(self) -> None:
        """A request begins."""
        ...

    def request(
        self, endpoint: str, model: str, code: int, seconds: float, stages: Mapping[str, float],
        *, protocol: Protocols = "http",
    ) -> None:  # fmt: skip
        """A request has ended; ``code`` is its status as HTTP has it."""
        ...


MAX_ID_CHARACTERS = 128


class Observed:
    """Gives each request an id, times it by stage (``Server-Timing``), and counts it once, however it ends."""

    def __init__(self, app: ASGIApp, *, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and count one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["id"] = request_id(dict(scope["headers"]).get(b"x-request-id", b""))
        status, started = 500, time.perf_counter()
        self._requests.arrived()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], *_headers(state["id"], timings.seconds)]
            await send(message)

        with trace.traced() as timings:
            try:
                await self._app(scope, receive, watched)
            except Exception:  # the last resort: the caller gets an answer, and the log what happened
                log.exception("request.crashed", extra={"request": state["id"]})
                await error_response(ServiceError(f"internal error; request {state['id']}"))(scope, receive, watched)
            finally:
                seconds = time.perf_counter() - started
                self._requests.request(_endpoint(scope), state.get("model", ""), status, seconds, timings.seconds)


def request_id(shown: bytes) -> str:
    """The id that a caller gave its request, if it is one; else a new one."""
    given = shown.decode("ascii", "replace")
    if 0 < len(given) <= MAX_ID_CHARACTERS and given.isprintable():
        return given
    return secrets.token_hex(16)


def server_timing(seconds: Mapping[str, float]) -> str:
    """Milliseconds by stage, as the header of that name writes them."""
    return ", ".join(f"{stage};dur={1000 * spent:.2f}" for stage, spent in seconds.items())


def _headers(given_id: str, seconds: Mapping[str, float]) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", given_id.encode())]
    if seconds:
        headers.append((b"server-timing", server_timing(seconds).encode()))
    return headers


def _endpoint(scope: Scope) -> str:
    """The route's path; one name for all paths that are not served."""
    route = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or "other"
