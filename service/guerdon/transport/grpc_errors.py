"""Errors as gRPC tells them: a status code, and a google.rpc.Status with the details."""

import math

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from guerdon.domain.errors import STATUS, ServiceError

DOMAIN = "guerdon"
DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE_CHARACTERS = 1000
"""Details travel in metadata, which clients bound at 8 KiB."""


def code_of(error: ServiceError) -> grpc.StatusCode:
    """The code of the one status table."""
    return grpc.StatusCode[STATUS[type(error)].grpc]


def message_of(error: ServiceError) -> str:
    """The sentence, cut where it is very long."""
    return error.message[:MAX_MESSAGE_CHARACTERS]


def status_of(error: ServiceError) -> Status:
    """All that is known: our own code, the field at fault, and when to ask again where that may help."""
    status = Status(code=code_of(error).value[0], message=message_of(error))
    status.details.add().Pack(ErrorInfo(reason=error.code, domain=DOMAIN))
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=error.field, description=message_of(error))
        status.details.add().Pack(BadRequest(field_violations=[violation]))
    if STATUS[type(error)].http == 503 or error.retry_after_s is not None:
        seconds = math.ceil(error.retry_after_s or 1.0)  # as `Retry-After` says over HTTP
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return status
