"""Reads a request's JSON, and says what is wrong with it without repeating it."""

import re
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from guerdon.domain import trace
from guerdon.domain.errors import Invalid, Malformed, UnsupportedMedia
from guerdon.domain.strict import nearest, path_of

Body = TypeVar("Body", bound=BaseModel)
MAX_FIELD_CHARACTERS = 120
MAX_MESSAGE_CHARACTERS = 400


async def load_json(request: Request) -> object:
    """What the body says. Raises UnsupportedMedia or Malformed."""
    declared = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if declared != "application/json" and not declared.endswith("+json"):
        raise UnsupportedMedia("send application/json", field="Content-Type")
    body = (await request.receive())["body"]  # all of it: `BodyGate` has seen to that
    with trace.timed("parse"):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Malformed(
                f"the body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
            ) from error


def checked(given: object, kind: type[Body]) -> Body:
    """The body as ``kind``. Raises Invalid."""
    with trace.timed("parse"):
        try:
            return kind.model_validate(given)
        except ValidationError as error:
            raise invalid(error) from error


def invalid(error: ValidationError, whole: str = "body", within: str = "") -> Invalid:
    """The first thing wrong, in the caller's words, and how many more there are.

    ``whole`` names the document, ``within`` is the field of it that was read.

    Where a value may be of several types, the fault that lies deepest is of the type that was meant.
    """
    faults = error.errors(include_url=False)
    first = max(faults, key=lambda fault: len(fault["loc"]))
    loc = tuple(part for part in first["loc"] if not _names_a_type(part))
    if first["type"] == "unknown_key":
        loc = (*loc, first["ctx"]["key"])
    field = path_of((within, *loc) if within else loc)[:MAX_FIELD_CHARACTERS]
    message = first["msg"].removeprefix("Value error, ")[:MAX_MESSAGE_CHARACTERS]
    if first["type"] == "model_type":
        message = "a JSON object is needed"
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        near = nearest(first["input"][:MAX_FIELD_CHARACTERS], _allowed(first["ctx"]))
        message += f"; did you mean '{near}'?" if near else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Invalid(f"{field or whole}: {message}{more}", field=field or whole)


def _allowed(context: dict[str, str]) -> list[str]:
    """The words of which one is needed."""
    return re.findall(r"'([^']*)'", context["expected"])


def _names_a_type(part: int | str) -> bool:
    """Pydantic puts the branch of a union into the path; a caller wrote no such thing."""
    return isinstance(part, str) and (
        part in ("str", "Document", "Text") or part.startswith(("list[", "MessageBody", "TextPart"))
    )
