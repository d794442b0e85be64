"""The native API over gRPC."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from guerdon.domain import trace
from guerdon.domain.caller import Caller, calling
from guerdon.transport.grpc_calls import Call
from guerdon.transport.grpc_messages import (
    body_of,
    compare_response,
    models_response,
    read,
    rerank_response,
    score_response,
)
from guerdon.transport.json_body import invalid
from guerdon.transport.native import Asking, Json, NativeApi
from guerdon.transport.schemas import CompareRequest, RerankRequest, ScoreRequest
from guerdon_client.stubs.guerdon.v1 import answers_pb2, requests_pb2

Body = TypeVar("Body", bound=BaseModel)
Asked = TypeVar("Asked", bound=Asking)
Message = requests_pb2.ScoreRequest | requests_pb2.RerankRequest | requests_pb2.CompareRequest


class NativeCalls:
    """Each takes one request's bytes and answers as the JSON route does. Raises ServiceError."""

    def __init__(self, api: NativeApi) -> None:
        self._api, self._created = api, int(time.time())

    async def score(self, call: Call, raw: bytes) -> answers_pb2.ScoreResponse:
        """``Score``."""
        return await self.score_message(call, read(raw, requests_pb2.ScoreRequest))

    async def score_message(self, call: Call, message: requests_pb2.ScoreRequest) -> answers_pb2.ScoreResponse:
        """The same of a request that has been read."""
        return score_response(await answered(call, message, ScoreRequest, self._api.score))

    async def rerank(self, call: Call, raw: bytes) -> answers_pb2.RerankResponse:
        """``Rerank``."""
        message = read(raw, requests_pb2.RerankRequest)
        return rerank_response(await answered(call, message, RerankRequest, self._api.rerank))

    async def compare(self, call: Call, raw: bytes) -> answers_pb2.CompareResponse:
        """``Compare``."""
        message = read(raw, requests_pb2.CompareRequest)
        return compare_response(await answered(call, message, CompareRequest, self._api.compare))

    async def models(self, call: Call, raw: bytes) -> answers_pb2.ListModelsResponse:
        """``ListModels``."""
        read(raw, requests_pb2.ListModelsRequest)
        return models_response(self._api.models(self._created))


async def answered(call: Call, message: Message, kind: type[Asked], answer: Callable[..., Awaitable[Json]]) -> Json:
    """The native answer to a message, on behalf of its caller."""
    with trace.timed("parse"):
        body = checked(body_of(message), kind)
    call.model = body.model
    with calling(Caller(call.tenant, body.cache)):
        return await answer(body, request_id=call.id, deadline=call.deadline)


def checked(given: Json, kind: type[Body]) -> Body:
    """The body as ``kind``. Raises Invalid."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from error
