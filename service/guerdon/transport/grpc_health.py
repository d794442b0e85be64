"""grpc.health.v1: whether requests would be answered now, as ``/readyz`` says over HTTP."""

import asyncio
import contextlib
from collections.abc import Callable, Collection

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from guerdon.transport.grpc_calls import Context

WATCH_S = 0.5
"""How often those are looked at on whose behalf someone watches."""


class Health(HealthServicer):  # type: ignore[misc]  # the library has no types
    """Of the whole (the empty name) and of each service, all of which stand and fall together."""

    def __init__(self, services: Collection[str], unready: Callable[[], object], closing: asyncio.Event) -> None:
        """``unready`` is false while requests would be answered; ``closing`` is set when no more are."""
        self._services, self._unready, self._closing = frozenset(("", *services)), unready, closing

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Say it once."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:
        """Say it now, and whenever it changes."""
        told = None
        while not self._closing.is_set() or told is None:
            if (status := self._status(request.service)) != told:
                await context.write(HealthCheckResponse(status=status))
                told = status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WATCH_S)
        if told == HealthCheckResponse.SERVING:
            await context.write(HealthCheckResponse(status=self._status(request.service)))

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(HealthCheckResponse.SERVICE_UNKNOWN)
        serving = not self._closing.is_set() and not self._unready()
        return int(HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)
