"""Carries requests over gRPC."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from guerdon_client.errors import GuerdonError, TimedOut, Unreachable, not_guerdon, of_code
from guerdon_client.grpc_messages import answer_of, call_of
from guerdon_client.requests import Request
from guerdon_client.steps import Outcome, Reply
from guerdon_client.stubs.guerdon.v1.reward_service_pb2_grpc import RewardServiceStub

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
STATUSES = {
    "INVALID_ARGUMENT": 422, "UNAUTHENTICATED": 401, "NOT_FOUND": 404, "UNIMPLEMENTED": 404, "CANCELLED": 499,
    "RESOURCE_EXHAUSTED": 413, "INTERNAL": 500, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
"""What the same refusal is called over HTTP."""


class GrpcWire:
    """A channel to one service. Safe to use from several threads."""

    def __init__(self, url: str, *, api_key: str | None, ca_file: str | None) -> None:
        self._url, self._metadata = url, _key(api_key)
        address, secure = _address(url)
        if secure:
            self._channel = grpc.secure_channel(address, _trusted(ca_file), options=OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._stub = RewardServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request. Raises Refused where it cannot be sent at all."""
        name, message = call_of(request.path, request.body)
        try:
            answer = getattr(self._stub, name)(message, **_sent(self._metadata, request, timeout_s))
        except grpc.RpcError as error:
            return _refusal(error, self._url)
        return Reply(200, answer_of(answer))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class AsyncGrpcWire:
    """The same for one event loop."""

    def __init__(self, url: str, *, api_key: str | None, ca_file: str | None) -> None:
        self._url, self._metadata = url, _key(api_key)
        address, secure = _address(url)
        if secure:
            self._channel = grpc.aio.secure_channel(address, _trusted(ca_file), options=OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._stub = RewardServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    async def ask(self, request: Request, timeout_s: float) -> Outcome:
        """What came of one request. Raises Refused where it cannot be sent at all."""
        name, message = call_of(request.path, request.body)
        try:
            answer = await getattr(self._stub, name)(message, **_sent(self._metadata, request, timeout_s))
        except grpc.RpcError as error:
            return _refusal(error, self._url)
        return Reply(200, answer_of(answer))

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _address(url: str) -> tuple[str, bool]:
    parts = urlsplit(url)
    return parts.netloc, parts.scheme == "grpcs"


def _trusted(ca_file: str | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(None if ca_file is None else Path(ca_file).read_bytes())


def _key(api_key: str | None) -> list[tuple[str, str]]:
    return [] if api_key is None else [("authorization", f"Bearer {api_key}")]


def _sent(metadata: list[tuple[str, str]], request: Request, timeout_s: float) -> dict[str, Any]:
    return {"timeout": max(timeout_s, 0.001), "metadata": [*metadata, ("x-request-id", request.id)]}


def _refusal(error: Any, url: str) -> Outcome:
    """What the service says of itself, or what the channel says of the service."""
    code = error.code().name
    status = STATUSES.get(code, 500)
    told = _told(error)
    if told is None:
        said = f"{url}: {error.details()}"
        if code == "UNAVAILABLE":
            return Unreachable("unreachable", said)
        if code == "DEADLINE_EXCEEDED":
            return TimedOut("deadline_exceeded", said, status=status)
        if code == "RESOURCE_EXHAUSTED":
            return of_code("too_large", said, status=status, field="body")
        return not_guerdon(status)
    return told


def _told(error: Any) -> GuerdonError | None:
    """The service's own error; None where there is none."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if packed is None:
        return None
    try:
        details = Status.FromString(packed).details
    except DecodeError:
        return None
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in details:
        for kind in (info, bad, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    if info.domain != "guerdon":
        return None
    seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return of_code(
        info.reason,
        error.details(),
        status=STATUSES.get(error.code().name, 500),
        field=bad.field_violations[0].field if bad.field_violations else None,
        retry_after_s=seconds or None,
    )
