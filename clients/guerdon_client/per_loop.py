"""Clients that are shared by everything in one process."""

import asyncio
from functools import cache
from typing import Unpack

from guerdon_client.async_client import AsyncClient
from guerdon_client.client import Client
from guerdon_client.requests import ClientOptions


class PerLoop:
    """One `AsyncClient` for each event loop that asks, made when it first does. Trainers may run several loops."""

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self._url, self._options = url, options
        self._clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}

    def client(self) -> AsyncClient:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients = {known: client for known, client in self._clients.items() if not known.is_closed()}
            self._clients[loop] = AsyncClient(self._url, **self._options)
        return self._clients[loop]


@cache
def shared(url: str, api_key: str | None) -> Client:
    """The process's client of this service."""
    return Client(url, api_key=api_key)


@cache
def shared_per_loop(url: str, api_key: str | None) -> PerLoop:
    """The process's asynchronous clients of this service."""
    return PerLoop(url, api_key=api_key)
