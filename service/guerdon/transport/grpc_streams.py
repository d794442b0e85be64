"""Scores for a stream of requests, each answered as soon as it can be."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from guerdon.domain.errors import ServiceError, Unavailable
from guerdon.transport.grpc_calls import Call, Context, Front, refuse
from guerdon.transport.grpc_errors import status_of
from guerdon.transport.grpc_messages import read
from guerdon.transport.grpc_native import NativeCalls
from guerdon.transport.observed import request_id
from guerdon_client.stubs.guerdon.v1.reward_service_pb2 import ScoreStreamRequest, ScoreStreamResponse

Answers = asyncio.Queue[ScoreStreamResponse | None]
"""What waits to be sent; None after the last."""


class ScoreStreams:
    """Answers streams of scores. Of one stream, at most ``in_flight`` requests are worked on or wait to be sent.

    When ``closing`` is set, no further request is read: those that were are answered, then the stream is ended.
    """

    def __init__(
        self, front: Front, native: NativeCalls, *, method: str, in_flight: int, closing: asyncio.Event
    ) -> None:
        self._front, self._native, self._method = front, native, method
        self._in_flight, self._closing = in_flight, closing

    async def serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Answer one stream until the caller has no more to ask."""
        try:
            self._front.admit(Call(), context)
        except ServiceError as error:
            await refuse(context, error)
        answers, room = Answers(), asyncio.Semaphore(self._in_flight)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(requests, context, answers, room))
            while (answer := await answers.get()) is not None:
                await context.write(answer)
                room.release()
        if not reading.result():
            await refuse(context, Unavailable("the service is stopping; ask again over a new connection"))

    async def _read(
        self, requests: AsyncIterator[bytes], context: Context, answers: Answers, room: asyncio.Semaphore
    ) -> bool:
        """Work on each request as it comes; false if it was not the caller who ended the stream."""
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            async with asyncio.TaskGroup() as group:
                while (raw := await _next(requests, closing)) is not None:
                    await room.acquire()
                    group.create_task(self._answer(raw, context, answers))
            answers.put_nowait(None)
            return not closing.done()
        finally:
            closing.cancel()

    async def _answer(self, raw: bytes, context: Context, answers: Answers) -> None:
        answer, call = ScoreStreamResponse(), Call()

        async def work(call: Call, raw: bytes) -> ScoreStreamResponse:
            asked = read(raw, ScoreStreamRequest)
            answer.id = asked.id
            call.id = request_id(asked.id.encode())
            answer.response.CopyFrom(await self._native.score_message(call, asked.request))
            return answer

        outcome = await self._front.answered(self._method, call, raw, work, context)
        if isinstance(outcome, ServiceError):
            answer.error.CopyFrom(status_of(outcome))
        answers.put_nowait(answer)


async def _next(requests: AsyncIterator[bytes], closing: "asyncio.Future[Any]") -> bytes | None:
    """The next request; None where there is no more, or no more is to be read."""
    coming: asyncio.Future[Any] = asyncio.ensure_future(anext(requests, None))
    try:
        await asyncio.wait([coming, closing], return_when=asyncio.FIRST_COMPLETED)
        found: bytes | None = coming.result() if coming.done() else None
        return found
    finally:
        coming.cancel()
