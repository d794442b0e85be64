"""What a service says when it gives no reward."""

from collections.abc import Mapping
from functools import partial
from typing import Any


class GuerdonError(Exception):
    """The service refused, or could not be reached. ``status`` is 0 where there was no answer at all.

    ``code`` is the service's, and does not change; ``field`` names the faulty part of what was sent;
    ``retry_after_s`` is how long the service asks callers to wait.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.field = code, message, status, field
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole, as trainers hand errors from one process to another."""
        rebuilt = partial(type(self), status=self.status, field=self.field, retry_after_s=self.retry_after_s)
        return rebuilt, (self.code, self.message)


class Unreachable(GuerdonError):
    """Nobody answered, or the connection broke."""


class TimedOut(GuerdonError):
    """The time allowed ran out, here or in the service."""


class Busy(GuerdonError):
    """The service cannot answer now; later it may."""


class Unauthorized(GuerdonError):
    """The service wants a key, or another one."""


class UnknownModel(GuerdonError):
    """The service serves no model of this name."""


class Refused(GuerdonError):
    """What was sent is wrong, and will be tomorrow."""


class Failed(GuerdonError):
    """The model gave no usable score for what was sent."""


KINDS: Mapping[str, type[GuerdonError]] = {
    "unreachable": Unreachable,
    "deadline_exceeded": TimedOut,
    "slow_body": TimedOut,
    "overloaded": Busy,
    "unavailable": Busy,
    "unauthorized": Unauthorized,
    "unknown_model": UnknownModel,
    "malformed": Refused,
    "invalid": Refused,
    "unusable_field": Refused,
    "response_too_long": Refused,
    "too_large": Refused,
    "unsupported_media": Refused,
    "internal": Failed,
    "non_finite": Failed,
    "engine_failed": Failed,
    "worker_lost": Failed,
}
"""What each code is raised as; others as GuerdonError itself."""
OF_INPUTS = frozenset({
    "malformed", "invalid", "unusable_field", "response_too_long", "too_large", "non_finite", "engine_failed",
    "worker_lost",
})  # fmt: skip
"""Codes that speak of what was sent; the others speak of the service."""
OF_STATUS: Mapping[int, str] = {
    400: "malformed", 401: "unauthorized", 404: "unknown_model", 405: "wrong_method", 408: "slow_body",
    413: "too_large", 415: "unsupported_media", 422: "invalid", 500: "internal", 503: "unavailable",
    504: "deadline_exceeded",
}  # fmt: skip
"""The code of an error whose protocol has no place for one."""


def of_code(code: str, message: str, **more: Any) -> GuerdonError:
    """The error of this code, as its own class."""
    return KINDS.get(code, GuerdonError)(code, message, **more)


def described(body: Mapping[str, Any], status: int, retry_after_s: float | None = None) -> GuerdonError:
    """The error that an answer, or one part of an answer, tells of."""
    return of_code(
        str(body.get("code")),
        str(body.get("message")),
        status=status,
        field=body.get("field"),
        retry_after_s=retry_after_s,
    )


def refused(body: Any, status: int, retry_after_s: float | None = None) -> GuerdonError:
    """The error that a whole answer tells of, in the service's words or in those of a protocol that it also speaks."""
    told = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(told, str):  # TEI, which has the code beside the message; Open Inference, which has none
        told = {"code": body.get("code", OF_STATUS.get(status)), "message": told, "field": body.get("field")}
    elif isinstance(told, Mapping) and isinstance(told.get("type"), str):  # OpenAI, whose code is the status
        told = {"code": told["type"], "message": told.get("message"), "field": told.get("param")}
    if isinstance(told, Mapping) and isinstance(told.get("code"), str):
        return described(told, status, retry_after_s)
    problem = not_guerdon(status)
    problem.retry_after_s = retry_after_s
    return problem


def not_guerdon(status: int) -> GuerdonError:
    """What answers there is something else."""
    return GuerdonError("not_guerdon", f"HTTP {status} from something that is no Guerdon service", status=status)


def of_inputs(problem: GuerdonError) -> bool:
    """Whether a whole request failed for the sake of some of its inputs: without them, the others may do."""
    field = problem.field or "inputs"
    return problem.code in OF_INPUTS and (field == "body" or field.startswith("inputs"))
