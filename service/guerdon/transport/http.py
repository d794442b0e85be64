"""The HTTP application: routes, health, metrics."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from guerdon.domain.errors import ServiceError, UnknownRoute, WrongMethod
from guerdon.transport.access import Access
from guerdon.transport.answers import ModelList
from guerdon.transport.body_gate import BodyGate
from guerdon.transport.compat.questions import add_questions
from guerdon.transport.dialect import Desk
from guerdon.transport.direct_route import DirectRoute
from guerdon.transport.errors import error_response, json_response
from guerdon.transport.health import Health
from guerdon.transport.native import NativeApi
from guerdon.transport.observed import Observed, Requests
from guerdon.transport.routes import add_paths, documented

DOCS_ASSETS = "/docs/assets"
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def http_app(
    desk: Desk,
    *,
    health: Health,
    metrics: Callable[[], bytes],
    requests: Requests,
    lifespan: Lifespan,
    tenants: Mapping[bytes, str] = MappingProxyType({}),
) -> FastAPI:
    """The service over HTTP. ``tenants`` are by the SHA-256 of the keys that they show; without any, all may call."""
    app = FastAPI(
        title="Guerdon", version=version("guerdon"), summary="Rewards for responses.", lifespan=lifespan,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.router.route_class = DirectRoute
    add_paths(app, desk, health)
    _add_models(app, desk.native)
    _add_operations(app, health, metrics)
    add_questions(app, desk, health)
    _add_docs(app)
    app.router.routes.sort(key=lambda route: not isinstance(route, DirectRoute))  # before the pages of documentation
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(BodyGate, max_bytes=int(desk.limits.max_body), timeout_s=desk.limits.body_timeout_s)
    app.add_middleware(Access, tenants=tenants)
    app.add_middleware(Observed, requests=requests)
    app.openapi = lambda: documented(app)  # type: ignore[method-assign]
    return app


def _add_models(app: FastAPI, api: NativeApi) -> None:
    created = int(time.time())

    @app.get("/v1/models", response_model=ModelList, tags=["native"])
    async def models(request: Request) -> Response:
        """Everything that can be called by name."""
        return json_response(api.models(created))


def _add_operations(app: FastAPI, health: Health, metrics: Callable[[], bytes]) -> None:
    @app.get("/livez", response_model=dict[str, str], tags=["operations"])
    async def livez(request: Request) -> Response:
        """Whether the process answers."""
        return json_response({"status": "live"})

    @app.get("/readyz", tags=["operations"], response_model=dict[str, Any], responses={503: {"description": "why not"}})
    async def readyz(request: Request) -> Response:
        """Whether requests would be answered now."""
        reasons = health.unready()
        if reasons:
            return json_response({"status": "not ready", "engines": reasons}, 503, {"retry-after": "2"})
        return json_response({"status": "ready"})

    @app.get("/metrics", tags=["operations"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposition(request: Request) -> Response:
        """Metrics for Prometheus."""
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_docs(app: FastAPI) -> None:
    """The page at /docs, its script and style from this machine: it works where there is no internet."""
    app.mount(DOCS_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Guerdon",
            swagger_js_url=f"{DOCS_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_ASSETS}/favicon.png",
        )


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_response(WrongMethod(f"this path does not take {request.method[:20]}"))
    if error.status_code == 404:
        return error_response(UnknownRoute("nothing is served at this path; see /docs"))
    return error_response(ServiceError("internal error"))
