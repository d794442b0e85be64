"""Runs the service over HTTP, and gRPC if that has a port, until it is told to stop."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
import uvicorn
import uvloop
from fastapi import FastAPI

from guerdon.domain.errors import NotServable
from guerdon.transport.health import Health
from guerdon.transport.http import http_app
from guerdon.wiring import Plan, Service

if TYPE_CHECKING:
    from guerdon.transport.grpc_server import GrpcServer

DRAIN_S = 30
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections: one that is closed while a request is on its way is an error to them."""
COLLECT_AFTER = 20_000
"""So many more objects than were freed, and those that are new are searched for cycles."""
SAMPLE_CALL = """curl -s {url}/v1/score -H 'Content-Type: application/json' -d '{{
  "inputs": [{{"prompt": "How do I boil an egg?",
              "responses": ["Put it in boiling water for eight minutes, then cool it under the tap.",
                            "Eggs are eggs."]}}]}}'"""


@dataclass(frozen=True, slots=True)
class GrpcFront:
    """The gRPC server beside the HTTP server, and where it listens."""

    server: "GrpcServer"
    address: str


def serve(plan: Plan, host: str, port: int, grpc_port: int | None = None) -> int:
    """Serve until a signal; the exit status. ``grpc_port`` goes before that of the configuration."""
    return uvloop.run(_serve(plan, host, port, plan.config.grpc.port if grpc_port is None else grpc_port))


async def _serve(plan: Plan, host: str, port: int, grpc_port: int | None) -> int:
    service = Service(plan)
    grpc = None if grpc_port is None else _grpc_front(service, host, grpc_port)
    server = _Server(
        uvicorn.Config(
            application(service, None if grpc is None else grpc.server),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
            date_header=False,
        ),
        grpc,
    )
    serving = asyncio.create_task(server.serve())
    announcing = asyncio.create_task(_announce(service, server, serving, host, port))
    await serving
    announcing.cancel()
    (failure,) = await asyncio.gather(announcing, return_exceptions=True)
    return 1 if isinstance(failure, NotServable) or not server.started else 0


def _grpc_front(service: Service, host: str, port: int) -> GrpcFront:
    """The gRPC server on its port, where nobody is let in yet. Raises NotServable."""
    server = service.grpc_server()
    bound = server.bind(host, port)
    scheme = "grpc" if service.plan.certificates is None else "grpcs"
    return GrpcFront(server, f"{scheme}://{_reachable(host)}:{bound}")


class _Server(uvicorn.Server):
    """Finishes what was asked over gRPC while it finishes what was asked over HTTP."""

    def __init__(self, config: uvicorn.Config, grpc: GrpcFront | None) -> None:
        super().__init__(config)
        self.grpc = grpc

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, and end when all have their answer, or in half a minute."""
        if self.grpc is None:
            await super().shutdown(sockets)
            return
        stopping = asyncio.create_task(self.grpc.server.stop(DRAIN_S))
        await super().shutdown(sockets)  # which waits for the same in the end, unless it is forced to hurry
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


def application(service: Service, grpc: "GrpcServer | None" = None) -> FastAPI:
    """The service's HTTP application; its workers, and the gRPC server, live as long as it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        if grpc is not None:
            await grpc.start()
        yield
        if grpc is not None:
            await grpc.stop(DRAIN_S)
        await service.close()

    return http_app(
        service.desk(),
        health=Health(unready=service.unready, started=service.started),
        metrics=service.metrics.render,
        requests=service.metrics,
        lifespan=lifespan,
        tenants=service.plan.tenants,
    )


async def _announce(service: Service, server: _Server, serving: "asyncio.Task[None]", host: str, port: int) -> None:
    """Say when the service is ready and how to call it; stop it if it never will be."""
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.02)
    if serving.done():
        return
    url = f"http://{_reachable(host)}:{_port(server, port)}"
    places = url if server.grpc is None else f"{url}, {server.grpc.address}"
    typer.echo(f"guerdon: listening on {places}, loading models ...", err=True)
    try:
        await service.ready()
    except NotServable as error:
        typer.secho(f"guerdon: {error}", fg="red", err=True)
        server.should_exit = True
        raise
    _spare_garbage_collection()
    models = ", ".join(service.gateway.models)
    typer.echo(f"guerdon: ready. Models: {models}\n\nTry it:\n\n{SAMPLE_CALL.format(url=url)}\n", err=True)


def _spare_garbage_collection() -> None:
    """Look for cycles less often, and never in what has lived since the start.

    Nearly all that a request makes is freed when its last reference goes. With a hundred thousand responses queued,
    a search for cycles every 700 allocations took a sixth of the gateway's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _reachable(host: str) -> str:
    """The host as an address names it that can be called from here."""
    return "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host


def _port(server: uvicorn.Server, asked: int) -> int:
    """The port in use; ``asked`` may be 0, for any free one."""
    for running in server.servers:
        for listening in running.sockets:
            return int(listening.getsockname()[1])
    return asked
