"""Errors as HTTP answers."""

import math

import orjson
from starlette.responses import Response

from guerdon.domain.errors import STATUS, ServiceError


def described(error: ServiceError) -> dict[str, object]:
    """The body of an error: code and message, and the field where one is at fault."""
    body: dict[str, object] = {"code": error.code, "message": error.message}
    if error.field is not None:
        body["field"] = error.field
    return body


def error_response(error: ServiceError, body: object = None) -> Response:
    """The answer to a request that failed as a whole; ``body`` in place of the service's own words."""
    status = STATUS[type(error)].http
    headers = {}
    if status == 503:
        headers["retry-after"] = str(math.ceil(error.retry_after_s or 1.0))
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response({"error": described(error)} if body is None else body, status, headers)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON by orjson, which writes no NaN."""
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
