"""Runs the service over HTTP until it is told to stop."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

import typer
import uvicorn
import uvloop
from fastapi import FastAPI

from guerdon.domain.errors import NotServable
from guerdon.transport.health import Health
from guerdon.transport.http import http_app
from guerdon.wiring import Plan, Service

DRAIN_S = 30
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections: one that is closed while a request is on its way is an error to them."""
COLLECT_AFTER = 20_000
"""So many more objects than were freed, and those that are new are searched for cycles."""
SAMPLE_CALL = """curl -s {url}/v1/score -H 'Content-Type: application/json' -d '{{
  "inputs": [{{"prompt": "How do I boil an egg?",
              "responses": ["Put it in boiling water for eight minutes, then cool it under the tap.",
                            "Eggs are eggs."]}}]}}'"""


def serve(plan: Plan, host: str, port: int) -> int:
    """Serve until a signal; the exit status."""
    return uvloop.run(_serve(plan, host, port))


async def _serve(plan: Plan, host: str, port: int) -> int:
    service = Service(plan)
    app = application(service)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
            date_header=False,
        )
    )
    serving = asyncio.create_task(server.serve())
    announcing = asyncio.create_task(_announce(service, server, serving, host, port))
    await serving
    announcing.cancel()
    (failure,) = await asyncio.gather(announcing, return_exceptions=True)
    return 1 if isinstance(failure, NotServable) or not server.started else 0


def application(service: Service) -> FastAPI:
    """The service's HTTP application; its workers live as long as it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    return http_app(
        service.gateway,
        service.plan.config.limits,
        compatible=service.plan.config.compatible,
        health=Health(unready=service.unready, started=service.started),
        metrics=service.metrics.render,
        requests=service.metrics,
        lifespan=lifespan,
        tenants=service.plan.tenants,
    )


async def _announce(
    service: Service, server: uvicorn.Server, serving: "asyncio.Task[None]", host: str, port: int
) -> None:
    """Say when the service is ready and how to call it; stop it if it never will be."""
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.02)
    if serving.done():
        return
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{_port(server, port)}"
    typer.echo(f"guerdon: listening on {url}, loading models ...", err=True)
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


def _port(server: uvicorn.Server, asked: int) -> int:
    """The port in use; ``asked`` may be 0, for any free one."""
    for running in server.servers:
        for socket in running.sockets:
            return int(socket.getsockname()[1])
    return asked
