"""Lets a request's body in: bounded in bytes, pieces and time; and stops the work when the caller goes away."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guerdon.domain.errors import Cancelled, ServiceError, SlowBody, TooLarge, UnsupportedMedia
from guerdon.transport.errors import error_response

MAX_PIECES = 65_536


class BodyGate:
    """Reads the whole body before the application runs, so that it meets only complete, bounded requests."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(dict(scope["headers"]), receive)
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._run(body, scope, receive, send)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding != b"identity":
            raise UnsupportedMedia("send the body as it is: no Content-Encoding is read", field="Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._pieces(receive)
        except TimeoutError as error:
            raise SlowBody(f"the body did not arrive within {self._timeout_s:g} s (limits.body_timeout_s)") from error

    async def _pieces(self, receive: Receive) -> bytes:
        body, pieces = bytearray(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled("the caller went away")
            body += message.get("body", b"")
            pieces += 1
            if len(body) > self._max_bytes or pieces > MAX_PIECES:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over {self._max_bytes} bytes (limits.max_body)", field="body")

    async def _run(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on the body until it has answered or its caller has gone."""
        given = False

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.Event().wait()  # the listener below hears of the disconnect
            raise AssertionError

        listener = _Listener(receive)
        try:
            await self._app(scope, replay, send)
        except asyncio.CancelledError:
            if not listener.cancelled_work():
                raise
            await error_response(Cancelled("the caller went away"))(scope, replay, send)
        finally:
            listener.close()


class _Listener:
    """Cancels the task that made it when the caller goes away.

    It begins to listen when that task first waits for something: an answer from the cache never does, and is spared
    the price of a second task.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive, self._work, self._gone = receive, asyncio.current_task(), False
        self._listening: asyncio.Task[None] | None = None
        self._begin = asyncio.get_running_loop().call_soon(self._listen)

    def cancelled_work(self) -> bool:
        """Whether the work was cancelled for this reason alone; if so, that cancellation counts as dealt with."""
        return self._gone and self._work is not None and self._work.uncancel() == 0

    def close(self) -> None:
        """Stop listening."""
        self._begin.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        self._listening = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._work is not None:
            self._work.cancel()
