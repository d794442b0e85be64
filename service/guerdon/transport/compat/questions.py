"""What other servers are asked by GET: whether they are well, and what they serve."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from guerdon.domain.errors import ServiceError
from guerdon.gateway import Gateway
from guerdon.transport.compat.open_inference import INPUT, OUTPUT, OpenInferenceRefusal
from guerdon.transport.compat.tei import TeiRefusal
from guerdon.transport.dialect import MODEL_PARAMETER, Desk, in_path
from guerdon.transport.errors import error_response, json_response
from guerdon.transport.health import Health

TAG: list[Any] = ["operations"]
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "not ready"}}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": TeiRefusal, "description": "unknown model"}}
UNKNOWN_V2: dict[int | str, dict[str, Any]] = {404: {"model": OpenInferenceRefusal, "description": "unknown model"}}
NAMED = {"parameters": [in_path("model")]}
ASKED = {"parameters": [MODEL_PARAMETER]}


def add_questions(app: FastAPI, desk: Desk, health: Health) -> None:
    """Serve the paths that other servers' clients look at before they ask for rewards."""
    _add_health(app, health)
    _add_open_inference(app, desk.gateway, health)

    @app.get("/info", response_model=dict[str, Any], tags=TAG, responses=UNKNOWN, openapi_extra=ASKED)
    async def info(request: Request) -> Response:
        """TEI: what is served, by default or as ?model= says."""
        try:
            model = desk.gateway.model(request.query_params.get("model", "default"))
        except ServiceError as error:
            return error_response(error, TeiRefusal)
        described = {
            "model_id": model.name,
            "model_sha": model.revision,
            "model_type": {"classifier": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": model.max_tokens,
            "max_client_batch_size": desk.limits.max_responses,
            "version": version("guerdon"),
        }
        return json_response(described)


def _add_health(app: FastAPI, health: Health) -> None:
    @app.get("/health", response_model=dict[str, Any], tags=TAG, responses=NOT_READY)
    async def healthy(request: Request) -> Response:
        """Whether requests would be answered now; asked by most servers' clients."""
        return _ready(health, {"status": "healthy"})

    @app.get("/v2/health/live", response_model=dict[str, Any], tags=TAG)
    async def live(request: Request) -> Response:
        """Open Inference Protocol: whether the process answers."""
        return json_response({"live": True})

    @app.get("/v2/health/ready", response_model=dict[str, Any], tags=TAG, responses=NOT_READY)
    async def ready(request: Request) -> Response:
        """Open Inference Protocol: whether requests would be answered now."""
        return _ready(health, {"ready": True})


def _add_open_inference(app: FastAPI, gateway: Gateway, health: Health) -> None:
    @app.get("/v2", response_model=dict[str, Any], tags=TAG)
    async def server(request: Request) -> Response:
        """Open Inference Protocol: what server this is."""
        return json_response({"name": "guerdon", "version": version("guerdon"), "extensions": []})

    @app.get(
        "/v2/models/{model:path}/ready",
        response_model=dict[str, Any],
        tags=TAG,
        responses=UNKNOWN_V2 | NOT_READY,
        openapi_extra=NAMED,
    )
    async def ready(request: Request) -> Response:
        """Open Inference Protocol: whether a model would answer now."""
        try:
            model = gateway.model(request.path_params["model"])
        except ServiceError as error:
            return error_response(error, OpenInferenceRefusal)
        return _ready(health, {"name": model.name, "ready": True})

    @app.get(
        "/v2/models/{model:path}", response_model=dict[str, Any], tags=TAG, responses=UNKNOWN_V2, openapi_extra=NAMED
    )
    async def described(request: Request) -> Response:
        """Open Inference Protocol: a model's inputs and outputs."""
        try:
            model = gateway.model(request.path_params["model"])
        except ServiceError as error:
            return error_response(error, OpenInferenceRefusal)
        return json_response(
            {
                "name": model.name,
                "versions": [model.revision],
                "platform": "guerdon",
                "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1, 1]}],
                "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
            }
        )


def _ready(health: Health, answer: dict[str, Any]) -> Response:
    reasons = health.unready()
    if reasons:
        return json_response({"status": "not ready", "engines": reasons}, 503, {"retry-after": "2"})
    return json_response(answer)
