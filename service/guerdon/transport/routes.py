"""Puts the paths at which rewards are asked for into the application, and into its OpenAPI document."""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from guerdon.domain.caller import Caller, calling
from guerdon.domain.errors import DeadlineExceeded, Invalid, ServiceError, Unavailable
from guerdon.transport.answers import CompareAnswer, ErrorAnswer, RerankAnswer, ScoreAnswer
from guerdon.transport.compat import families
from guerdon.transport.compat.rerank import RerankRefusal
from guerdon.transport.dialect import Call, Desk, Dialect, Path
from guerdon.transport.errors import error_response, json_response
from guerdon.transport.health import Health
from guerdon.transport.json_body import checked, load_json
from guerdon.transport.schemas import CompareRequest, RerankRequest, ScoreRequest

Asked = TypeVar("Asked", ScoreRequest, RerankRequest, CompareRequest)
REFUSED = {
    400: "not JSON", 401: "no valid key", 404: "unknown model", 408: "the body came too slowly",
    413: "over a limit", 415: "not application/json", 422: "a field is wrong", 500: "the model failed",
    503: "overloaded or not ready; see Retry-After", 504: "the time ran out",
}  # fmt: skip


def _named(call: Call, body: Asked) -> Asked:
    """The body with the model that the URL names, where it names none itself."""
    model = call.named(body.model if "model" in body.model_fields_set else None)
    call.request.state.model = call.desk.gateway.meant(model)
    return body if model == body.model else body.model_copy(update={"model": model})


async def _score(call: Call, body: ScoreRequest) -> object:
    return await call.desk.native.score(_named(call, body), request_id=call.id, deadline=call.deadline)


async def _rerank(call: Call, body: RerankRequest) -> object:
    return await call.desk.native.rerank(_named(call, body), request_id=call.id, deadline=call.deadline)


async def _compare(call: Call, body: CompareRequest) -> object:
    return await call.desk.native.compare(_named(call, body), request_id=call.id, deadline=call.deadline)


SCORE = Dialect(ScoreRequest, _score, frozenset({"inputs"}), answers=ScoreAnswer)
RERANK = Dialect(RerankRequest, _rerank, refusal=RerankRefusal, answers=RerankAnswer)
COMPARE = Dialect(CompareRequest, _compare, answers=CompareAnswer)

PATHS = (
    Path(
        "/v1/score",
        "Reward the responses of one or more conversations.",
        (SCORE, *families.SCORE),
        tag="native",
    ),
    Path("/v1/rerank", "Rank the responses to one conversation, best first.", (RERANK,), tag="native"),
    Path(
        "/v1/compare",
        "Compare the responses to one or more conversations with each other.",
        (COMPARE,),
        tag="native",
    ),
    *families.PATHS,
)


def add_paths(app: FastAPI, desk: Desk, health: Health) -> None:
    """Serve every path in `PATHS`."""
    for path in PATHS:
        for method in path.methods:
            app.add_api_route(
                path.path,
                _endpoint(path, desk, health),
                methods=[method],
                summary=path.summary,
                operation_id=_operation(method, path.path),
                tags=[path.tag],
                response_model=path.dialects[0].answers if len(path.dialects) == 1 else None,
                responses=_refusals(path),
                openapi_extra=_bodies(path) | {"parameters": [*path.in_path, *path.parameters]},
            )


def _refusals(path: Path) -> dict[int | str, dict[str, Any]]:
    """In the words of the path's protocols; in the service's own what is refused before any of them is asked."""
    words = dict.fromkeys([ErrorAnswer, *(dialect.refusal for dialect in path.dialects)])
    return {status: {"model": reduce(or_, words), "description": what} for status, what in REFUSED.items()}


def _endpoint(path: Path, desk: Desk, health: Health) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        dialect: Dialect[Any] = path.dialects[0]
        try:
            deadline = _admitted(request, desk, health)
            given = await load_json(request)
            dialect = path.dialect(given)
            body = checked(given, dialect.body)
            call = Call(request, desk, deadline, given)
            with calling(Caller(request.state.tenant, getattr(body, "cache", "read-write"))):
                return json_response(await dialect.answer(call, body), headers=call.headers)
        except ServiceError as error:
            return error_response(error, dialect.refusal)

    return endpoint


def _admitted(request: Request, desk: Desk, health: Health) -> float:
    """The request's deadline. Raises before any work where it cannot be answered in time, or yet."""
    if not health.started():
        raise Unavailable("the models are loading", retry_after_s=2.0)
    timeout_s = desk.limits.timeout_s
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


def _operation(method: str, path: str) -> str:
    return f"{method.lower()}{re.sub('[^a-z0-9]+', '_', path.replace(':path', ''))}".rstrip("_")


def _bodies(path: Path) -> dict[str, Any]:
    schemas = [{"$ref": f"#/components/schemas/{dialect.body.__name__}"} for dialect in path.dialects]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that handlers read by themselves."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        kinds: Sequence[type[BaseModel]] = [dialect.body for path in PATHS for dialect in path.dialects]
        _, definitions = models_json_schema(
            [(kind, "validation") for kind in dict.fromkeys(kinds)], ref_template="#/components/schemas/{model}"
        )
        document["components"]["schemas"] |= definitions["$defs"]
        app.openapi_schema = document
    return app.openapi_schema
