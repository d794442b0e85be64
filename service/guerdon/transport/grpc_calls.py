"""What surrounds every gRPC call: who calls, until when, how it is timed and counted, and how it fails."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Never, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from guerdon.domain import trace
from guerdon.domain.caller import DEFAULT_TENANT
from guerdon.domain.errors import STATUS, DeadlineExceeded, ServiceError, Unauthorized, Unavailable
from guerdon.domain.limits import Limits
from guerdon.transport.access import tenant_of
from guerdon.transport.grpc_errors import DETAILS_KEY, code_of, message_of, status_of
from guerdon.transport.observed import Requests, request_id, server_timing

log = logging.getLogger(__name__)
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Answer = TypeVar("Answer", bound=Message)
Told = tuple[tuple[str, str], ...]
"""Metadata that goes out behind an answer."""


@dataclass(slots=True)
class Call:
    """One request that is being answered; what is known of it is filled in on the way.

    ``seconds`` are by stage; ``metadata`` goes out behind the answer.
    """

    id: str = field(default_factory=lambda: request_id(b""))
    tenant: str = ""
    deadline: float = 0.0
    model: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


Given = TypeVar("Given", bytes, AsyncIterator[bytes])
Work = Callable[[Call, Given], Awaitable[Answer]]
"""Answers the bytes of one request, or of a stream of them. Raises ServiceError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What every call meets. ``tenants`` are by the SHA-256 of the keys that they show; without any, all may call."""

    limits: Limits
    tenants: Mapping[bytes, str]
    started: Callable[[], bool]
    requests: Requests

    def single(
        self, method: str, work: Work[Given, Answer], *, loaded: bool = True
    ) -> Callable[[Given, Context], Awaitable[Answer]]:
        """A call with one answer; unless ``loaded``, it is answered while models load, too."""

        async def serve(given: Given, context: Context) -> Answer:
            call = Call(request_id(_shown(context, "x-request-id")))
            answer = await self.answered(method, call, given, work, context, loaded=loaded)
            if isinstance(answer, ServiceError):
                await refuse(context, answer, _told(call))
            context.set_trailing_metadata(_told(call))
            return answer

        return serve

    def one_by_one(
        self, method: str, work: Work[bytes, Answer]
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        """A call with an answer for each request, in their order; the first error ends it."""

        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            async for raw in requests:
                answer = await self.answered(method, Call(), raw, work, context)
                if isinstance(answer, ServiceError):
                    await refuse(context, answer)
                await context.write(answer)

        return serve

    async def answered(
        self, method: str, call: Call, given: Given, work: Work[Given, Answer], context: Context,
        *, loaded: bool = True,
    ) -> Answer | ServiceError:  # fmt: skip
        """The answer, or the error in its place; timed, and counted once however it ends."""
        status, started = 200, time.perf_counter()
        self.requests.arrived()
        with trace.traced() as timings:
            try:
                self.admit(call, context, loaded=loaded)
                return await work(call, given)
            except ServiceError as error:
                status = STATUS[type(error)].http
                return error
            except asyncio.CancelledError:
                status = 504 if _is_over(context) else 499
                raise
            except Exception:  # the last resort: the caller gets an answer, and the log what happened
                log.exception("request.crashed", extra={"request": call.id})
                status = 500
                return ServiceError(f"internal error; request {call.id}")
            finally:
                call.seconds = timings.seconds
                seconds = time.perf_counter() - started
                self.requests.request(method, call.model, status, seconds, timings.seconds, protocol="grpc")

    def admit(self, call: Call, context: Context, *, loaded: bool = True) -> None:
        """Fill in for whom the call is, and until when. Raises before any work where it cannot be answered."""
        tenant = DEFAULT_TENANT
        if self.tenants:
            known = tenant_of(_shown(context, "authorization"), self.tenants)
            if known is None:
                raise Unauthorized("a valid key is needed: authorization: Bearer KEY", field="authorization")
            tenant = known
        if loaded and not self.started():
            raise Unavailable("the models are loading", retry_after_s=2.0)
        remaining_s: float | None = context.time_remaining()
        timeout_s = self.limits.timeout_s if remaining_s is None else min(remaining_s, self.limits.timeout_s)
        if timeout_s <= 0:
            raise DeadlineExceeded("the time allowed had passed on arrival")
        call.tenant, call.deadline = tenant, asyncio.get_running_loop().time() + timeout_s


async def refuse(context: Context, error: ServiceError, metadata: Told = ()) -> Never:
    """End the call with an error; does not return."""
    details = (DETAILS_KEY, status_of(error).SerializeToString())
    await context.abort(code_of(error), message_of(error), trailing_metadata=(*metadata, details))


def _told(call: Call) -> Told:
    told = (("x-request-id", call.id), *call.metadata.items())
    return (*told, ("server-timing", server_timing(call.seconds))) if call.seconds else told


def _is_over(context: Context) -> bool:
    remaining_s: float | None = context.time_remaining()
    return remaining_s is not None and remaining_s <= 0


def _shown(context: Context, key: str) -> bytes:
    """What the caller says of itself under this key; empty if nothing."""
    for name, value in context.invocation_metadata() or ():
        if name == key:
            return value if isinstance(value, bytes) else value.encode()
    return b""
