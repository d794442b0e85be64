"""What carries requests to an address."""

from typing import Protocol

import httpx

from guerdon_client.addresses import scheme_of
from guerdon_client.http_wire import AsyncHttpWire, HttpWire
from guerdon_client.requests import Request
from guerdon_client.steps import Outcome

HTTP = ("http", "https")
MISSING = "for grpc:// and grpcs:// addresses: pip install 'guerdon-client[grpc]'"


class Wire(Protocol):
    """Connections to one service."""

    def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class AsyncWire(Protocol):
    """The same for one event loop."""

    async def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def wire(url: str, *, api_key: str | None, ca_file: str | None, transport: httpx.BaseTransport | None) -> Wire:
    """By the address's scheme: HTTP, or gRPC. Raises ValueError for any other."""
    if scheme_of(url) in HTTP:
        return HttpWire(url, api_key=api_key, ca_file=ca_file, transport=transport)
    try:
        from guerdon_client.grpc_wire import GrpcWire
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(MISSING) from missing
    return GrpcWire(url, api_key=api_key, ca_file=ca_file)


def async_wire(
    url: str, *, api_key: str | None, ca_file: str | None, transport: httpx.AsyncBaseTransport | None
) -> AsyncWire:
    """The same for one event loop."""
    if scheme_of(url) in HTTP:
        return AsyncHttpWire(url, api_key=api_key, ca_file=ca_file, transport=transport)
    try:
        from guerdon_client.grpc_wire import AsyncGrpcWire
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(MISSING) from missing
    return AsyncGrpcWire(url, api_key=api_key, ca_file=ca_file)
