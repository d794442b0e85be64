"""Errors as HTTP answers."""

import math
from typing import Self

import orjson
from pydantic import BaseModel
from starlette.responses import Response

from guerdon.domain.errors import STATUS, ServiceError


def described(error: ServiceError) -> dict[str, object]:
    """The body of an error: code and message, and the field where one is at fault."""
    body: dict[str, object] = {"code": error.code, "message": error.message}
    if error.field is not None:
        body["field"] = error.field
    return body


class Refusal(BaseModel):
    """A refusal in the words of one protocol."""

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """What it says of an error."""
        raise NotImplementedError


def error_response(error: ServiceError, refusal: type[Refusal] | None = None) -> Response:
    """The answer to a request that failed as a whole, in the service's own words unless in those of ``refusal``."""
    status = STATUS[type(error)].http
    headers = {}
    if status == 503:
        headers["retry-after"] = str(math.ceil(error.retry_after_s or 1.0))
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    told = {"error": described(error)} if refusal is None else refusal.of(error).model_dump(exclude_unset=True)
    return json_response(told, status, headers)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON by orjson, which writes no NaN."""
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
