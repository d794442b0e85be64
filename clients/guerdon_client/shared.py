"""Clients that are shared by all that one process asks of a service, so that connections are used again."""

import asyncio
import atexit
from functools import cache

from guerdon_client.async_client import AsyncClient
from guerdon_client.client import Client
from guerdon_client.environment import Place
from guerdon_client.retries import Retries


class PerLoop:
    """One `AsyncClient` for each event loop that asks, made when it first does. Trainers may run several loops."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float, retries: Retries) -> None:
        self._url, self._api_key, self._timeout_s, self._retries = url, api_key, timeout_s, retries
        self._clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}

    def client(self) -> AsyncClient:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients = {known: client for known, client in self._clients.items() if not known.is_closed()}
            self._clients[loop] = AsyncClient(
                self._url, api_key=self._api_key, timeout_s=self._timeout_s, retries=self._retries
            )
        return self._clients[loop]

    async def close(self) -> None:
        """Close the running loop's own; the next call opens another."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def waiting(where: Place) -> Client:
    """The process's client of this service; it is closed when the process ends."""
    return _client(where.url, where.api_key, where.timeout_s, where.retries)


def asynchronous(where: Place) -> PerLoop:
    """The process's asynchronous clients of this service."""
    return _clients(where.url, where.api_key, where.timeout_s, where.retries)


@cache
def _client(url: str, api_key: str | None, timeout_s: float, retries: Retries) -> Client:
    client = Client(url, api_key=api_key, timeout_s=timeout_s, retries=retries)
    atexit.register(client.close)
    return client


@cache
def _clients(url: str, api_key: str | None, timeout_s: float, retries: Retries) -> PerLoop:
    return PerLoop(url, api_key, timeout_s, retries)
