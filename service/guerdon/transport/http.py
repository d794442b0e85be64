"""The HTTP application: routes, health, metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from guerdon.domain.caller import Caller, calling
from guerdon.domain.errors import DeadlineExceeded, Invalid, ServiceError, Unavailable, UnknownRoute, WrongMethod
from guerdon.domain.limits import Limits
from guerdon.gateway import Gateway
from guerdon.transport.access import Access
from guerdon.transport.answers import CompareAnswer, ErrorAnswer, ModelList, RerankAnswer, ScoreAnswer
from guerdon.transport.body_gate import BodyGate
from guerdon.transport.direct_route import DirectRoute
from guerdon.transport.errors import error_response, json_response
from guerdon.transport.json_body import read_json
from guerdon.transport.native import Asking, Json, NativeApi
from guerdon.transport.observed import Observed, Requests
from guerdon.transport.schemas import CompareRequest, RerankRequest, ScoreRequest

DOCS_ASSETS = "/docs/assets"
Asked = TypeVar("Asked", bound=Asking)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": what}
    for status, what in {
        400: "not JSON", 401: "no valid key", 404: "unknown model", 408: "the body came too slowly",
        413: "over a limit", 415: "not application/json", 422: "a field is wrong", 500: "the model failed",
        503: "overloaded or not ready; see Retry-After", 504: "the time ran out",
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """``unready`` gives the reason per engine that cannot run now; ``started`` tells whether all ever could."""

    unready: Callable[[], dict[str, str]]
    started: Callable[[], bool]


def http_app(
    gateway: Gateway,
    limits: Limits,
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
    _add_scoring(app, NativeApi(gateway, limits), limits, health)
    _add_operations(app, health, metrics)
    _add_docs(app)
    app.router.routes.sort(key=lambda route: not isinstance(route, DirectRoute))  # before the pages of documentation
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(BodyGate, max_bytes=int(limits.max_body), timeout_s=limits.body_timeout_s)
    app.add_middleware(Access, tenants=tenants)
    app.add_middleware(Observed, requests=requests)
    app.openapi = lambda: _documented(app)  # type: ignore[method-assign]
    return app


def _add_scoring(app: FastAPI, api: NativeApi, limits: Limits, health: Health) -> None:
    created = int(time.time())

    async def answered(request: Request, kind: type[Asked], answer: Callable[..., Awaitable[Json]]) -> Response:
        deadline = _admitted(request, limits, health)
        body = await read_json(request, kind)
        request.state.model = body.model
        with calling(Caller(request.state.tenant, body.cache)):
            return json_response(await answer(body, request_id=request.state.id, deadline=deadline))

    @app.post("/v1/score", response_model=ScoreAnswer, responses=REFUSALS, openapi_extra=_body(ScoreRequest))
    async def score(request: Request) -> Response:
        """Reward the responses of one or more conversations."""
        return await answered(request, ScoreRequest, api.score)

    @app.post("/v1/rerank", response_model=RerankAnswer, responses=REFUSALS, openapi_extra=_body(RerankRequest))
    async def rerank(request: Request) -> Response:
        """Rank the responses to one conversation, best first."""
        return await answered(request, RerankRequest, api.rerank)

    @app.post("/v1/compare", response_model=CompareAnswer, responses=REFUSALS, openapi_extra=_body(CompareRequest))
    async def compare(request: Request) -> Response:
        """Compare the responses to one or more conversations with each other."""
        return await answered(request, CompareRequest, api.compare)

    @app.get("/v1/models", response_model=ModelList)
    async def models(request: Request) -> Response:
        """Everything that can be called by name."""
        return json_response(api.models(created))


def _add_operations(app: FastAPI, health: Health, metrics: Callable[[], bytes]) -> None:
    @app.get("/livez", response_model=dict[str, str])
    async def livez(request: Request) -> Response:
        """Whether the process answers."""
        return json_response({"status": "live"})

    @app.get("/readyz", response_model=dict[str, Any], responses={503: {"description": "why not"}})
    async def readyz(request: Request) -> Response:
        """Whether requests would be answered now."""
        reasons = health.unready()
        if reasons:
            return json_response({"status": "not ready", "engines": reasons}, 503, {"retry-after": "2"})
        return json_response({"status": "ready"})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
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


def _admitted(request: Request, limits: Limits, health: Health) -> float:
    """The request's deadline. Raises before any work where it cannot be answered in time, or yet."""
    if not health.started():
        raise Unavailable("the models are loading", retry_after_s=2.0)
    timeout_s = limits.timeout_s
    asked = request.headers.get("x-request-timeout-ms")
    if asked is not None:
        try:
            timeout_s = min(timeout_s, int(asked) / 1000)
        except (ValueError, OverflowError) as error:
            raise Invalid("X-Request-Timeout-Ms: not a whole number", field="X-Request-Timeout-Ms") from error
        if timeout_s < 0:
            raise Invalid("X-Request-Timeout-Ms: below 0", field="X-Request-Timeout-Ms")
    if timeout_s <= 0:
        raise DeadlineExceeded("the time allowed had passed on arrival", field="X-Request-Timeout-Ms")
    return asyncio.get_running_loop().time() + timeout_s


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


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that handlers read by themselves."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        _, definitions = models_json_schema(
            [(kind, "validation") for kind in (ScoreRequest, RerankRequest, CompareRequest)],
            ref_template="#/components/schemas/{model}",
        )
        document["components"]["schemas"] |= definitions["$defs"]
        app.openapi_schema = document
    return app.openapi_schema
