"""Everything that can go wrong, with its stable code and its status on the wire."""

from dataclasses import dataclass
from typing import ClassVar


class ServiceError(Exception):
    """An answer that is not a score. ``code`` is wire contract, the message is prose.

    ``field`` names the faulty part of the request as the caller wrote it (``inputs[1].responses[3]``),
    ``retry_after_s`` is how long a caller does well to wait before it asks again.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s

    def at(self, field: str) -> "ServiceError":
        """The same error about another field; the original stays as it is."""
        return type(self)(self.message, field=field, retry_after_s=self.retry_after_s)


def first_of(errors: BaseExceptionGroup[ServiceError]) -> ServiceError:
    """The first error of tasks that ran side by side."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


class Malformed(ServiceError):
    """The body is not JSON, or not text that can be scored."""

    code = "malformed"


class Unauthorized(ServiceError):
    """The caller shows no key, or one that is not known."""

    code = "unauthorized"


class UnknownModel(ServiceError):
    """No model is served under this name."""

    code = "unknown_model"


class UnknownRoute(ServiceError):
    """Nothing is served at this path."""

    code = "unknown_route"


class WrongMethod(ServiceError):
    """The path is served, but not with this method."""

    code = "wrong_method"


class TooLarge(ServiceError):
    """The request is over one of the configured limits."""

    code = "too_large"


class UnsupportedMedia(ServiceError):
    """The content type or encoding of the body is not one we read."""

    code = "unsupported_media"


class SlowBody(ServiceError):
    """The body did not arrive in time."""

    code = "slow_body"


class Invalid(ServiceError):
    """The request parses, but its fields are wrong."""

    code = "invalid"


class UnusableField(ServiceError):
    """The called model can make no use of a field that was sent."""

    code = "unusable_field"


class ResponseTooLong(ServiceError):
    """Prompt and response together have more tokens than the model reads."""

    code = "response_too_long"


class NonFinite(ServiceError):
    """The model produced NaN or infinity."""

    code = "non_finite"


class EngineFailed(ServiceError):
    """The model failed on this response; its neighbours are unaffected."""

    code = "engine_failed"


class UnparsableVerdict(ServiceError):
    """A judge's verdict cannot be read, and a score is not guessed from it."""

    code = "unparsable_verdict"


class WorkerLost(ServiceError):
    """The worker died or hung on this response more often than it is retried."""

    code = "worker_lost"


class Overloaded(ServiceError):
    """The queue is full; nothing was started."""

    code = "overloaded"


class Unavailable(ServiceError):
    """The service is starting, draining, or has no healthy worker."""

    code = "unavailable"


class DeadlineExceeded(ServiceError):
    """The caller's time, or the server's maximum, ran out."""

    code = "deadline_exceeded"


class Cancelled(ServiceError):
    """The caller went away."""

    code = "cancelled"


@dataclass(frozen=True, slots=True)
class Status:
    """What an error is called over HTTP, and over gRPC."""

    http: int
    grpc: str


STATUS: dict[type[ServiceError], Status] = {
    ServiceError: Status(500, "INTERNAL"),
    Malformed: Status(400, "INVALID_ARGUMENT"),
    Unauthorized: Status(401, "UNAUTHENTICATED"),
    UnknownModel: Status(404, "NOT_FOUND"),
    UnknownRoute: Status(404, "UNIMPLEMENTED"),
    WrongMethod: Status(405, "UNIMPLEMENTED"),
    SlowBody: Status(408, "DEADLINE_EXCEEDED"),
    TooLarge: Status(413, "RESOURCE_EXHAUSTED"),
    UnsupportedMedia: Status(415, "INVALID_ARGUMENT"),
    Invalid: Status(422, "INVALID_ARGUMENT"),
    UnusableField: Status(422, "INVALID_ARGUMENT"),
    ResponseTooLong: Status(422, "INVALID_ARGUMENT"),
    Cancelled: Status(499, "CANCELLED"),
    NonFinite: Status(500, "INTERNAL"),
    EngineFailed: Status(500, "INTERNAL"),
    UnparsableVerdict: Status(500, "INTERNAL"),
    WorkerLost: Status(503, "UNAVAILABLE"),
    Overloaded: Status(503, "UNAVAILABLE"),
    Unavailable: Status(503, "UNAVAILABLE"),
    DeadlineExceeded: Status(504, "DEADLINE_EXCEEDED"),
}
"""The one status table. 503 is retried by every trainer's client; a 4xx ends some of their runs."""

BY_CODE: dict[str, type[ServiceError]] = {kind.code: kind for kind in STATUS}


class NotServable(Exception):
    """The configuration, or a checkpoint that it names, cannot be served; the message says what to change."""
