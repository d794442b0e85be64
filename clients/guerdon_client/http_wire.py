"""Carries requests over HTTP."""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from guerdon_client.errors import GuerdonError, TimedOut, Unreachable
from guerdon_client.requests import Request
from guerdon_client.retries import retry_after_s
from guerdon_client.steps import Outcome, Reply

MAX_CONNECTIONS = 256
IDLE_S = 4.0
"""Idle connections are dropped before a service's usual five seconds are over."""
LIMITS = httpx.Limits(
    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_S
)
GRACE_S = 1.0
"""The service is given this much less time than its answer is waited for, at most a tenth of it."""


class HttpWire:
    """Connections to one service, which are used again. Safe to use from several threads."""

    def __init__(
        self, url: str, *, api_key: str | None, ca_file: str | None, transport: httpx.BaseTransport | None
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=_key(api_key), verify=_trusted(ca_file), transport=transport, limits=LIMITS
        )

    def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request. Raises Refused where it cannot be sent at all."""
        try:
            answer = self._http.request(**_sent(request, timeout_s))
        except httpx.TransportError as problem:
            return _failure(problem, str(self._http.base_url))
        return _reply(answer)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpWire:
    """The same for one event loop."""

    def __init__(
        self, url: str, *, api_key: str | None, ca_file: str | None, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=_key(api_key), verify=_trusted(ca_file), transport=transport, limits=LIMITS
        )

    async def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request. Raises Refused where it cannot be sent at all."""
        try:
            answer = await self._http.request(**_sent(request, timeout_s))
        except httpx.TransportError as problem:
            return _failure(problem, str(self._http.base_url))
        return _reply(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _key(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _trusted(ca_file: str | None) -> ssl.SSLContext | bool:
    return True if ca_file is None else ssl.create_default_context(cafile=ca_file)


def _sent(request: Request, timeout_s: float) -> dict[str, Any]:
    content = request.content()
    headers = {"x-request-id": request.id, "x-request-timeout-ms": str(service_ms(timeout_s))}
    if content is not None:
        headers["content-type"] = "application/json"
    return {
        "method": "GET" if content is None else "POST",
        "url": request.path,
        "content": content,
        "headers": headers,
        "timeout": max(timeout_s, 0.001),
    }


def service_ms(timeout_s: float) -> int:
    """What the service is told that it has: so much less that its own word of a lack of time arrives in time."""
    return max(1, int(1000 * (timeout_s - min(GRACE_S, timeout_s / 10))))


def _failure(problem: httpx.TransportError, url: str) -> GuerdonError:
    told = f"{url}: {str(problem) or type(problem).__name__}"
    if isinstance(problem, httpx.TimeoutException):
        return TimedOut("deadline_exceeded", told)
    return Unreachable("unreachable", told)


def _reply(answer: httpx.Response) -> Reply:
    try:
        body = answer.json()
    except ValueError:
        body = None
    headers: Mapping[str, str] = answer.headers
    return Reply(answer.status_code, body, retry_after_s(headers.get("retry-after")))
