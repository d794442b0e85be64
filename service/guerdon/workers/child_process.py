"""One life of a worker child, seen from its parent."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Deliver, Query, Work
from guerdon.workers.messages import HEADER, MAX_FRAME_BYTES, frame, pack_queries, unpack, unpack_answer
from guerdon.workers.settings import WorkerSettings
from guerdon.workers.worker import Batch, Once, WorkerDied

Ending = Literal["died", "hung"]


@dataclass(slots=True)
class _Pending:
    answers: Once
    since: float
    done: "asyncio.Future[Batch]"


class ChildProcess:
    """A started child. Use `spawn`; then `loaded`, then `run` as often as wanted until `ended` returns."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: WorkerSettings,
    ) -> None:
        self._process, self._reader, self._writer, self._settings = process, reader, writer, settings
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count()
        self._ended = False
        self._last_heard = asyncio.get_running_loop().time()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @classmethod
    async def spawn(cls, command: Sequence[str], settings: WorkerSettings) -> Self:
        """Start ``command`` with the number of an inherited socket as its last argument."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            process = subprocess.Popen(  # noqa: ASYNC220 - milliseconds, and asyncio's own would need a child watcher
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout belongs to our caller's results
            )
        return cls(process, reader, writer, settings)

    async def loaded(self, engine_settings: dict[str, Any]) -> bool:
        """Have the child load its engine; whether that shares prefixes. Raises NotServable, or WorkerDied."""
        try:
            async with asyncio.timeout(self._settings.load_timeout_s):
                self._writer.write(frame({"kind": "load", "settings": engine_settings}))
                await self._writer.drain()
                message = await self._receive()
        except (TimeoutError, OSError, EOFError, RuntimeError, ValueError) as error:
            raise WorkerDied("the worker died, or took too long, while it loaded") from error
        match message:
            case {"kind": "not_servable", "message": str(reason)}:
                raise NotServable(reason)
            case {"kind": "loaded", "shares_prefixes": bool(shares)}:
                return shares
        raise WorkerDied("the worker did not say that it has loaded")

    async def run(self, queries: Sequence[Query], deliver: Deliver) -> Batch:
        """Send one batch, and deliver its answers as they come. Raises WorkerDied."""
        if self._ended:
            raise WorkerDied("the worker has ended")
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        pending = _Pending(Once(len(queries), deliver), loop.time(), loop.create_future())
        self._pending[number] = pending
        try:
            self._writer.write(frame({"kind": "compute", "batch": number, "queries": pack_queries(queries)}))
            await self._writer.drain()
            return await pending.done
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError on a closed transport
            raise WorkerDied("the worker's socket closed") from error
        finally:
            self._pending.pop(number, None)

    async def ended(self) -> Ending:
        """Read answers until the child dies or hangs. From then on it takes no batch; `kill` clears it away."""
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
            return "died" if reading.done() else "hung"
        finally:
            self._ended = True
            reading.cancel()
            watching.cancel()
            await asyncio.gather(reading, watching, return_exceptions=True)

    async def kill(self) -> None:
        """End the child now."""
        self._ended = True
        self._writer.close()
        self._process.kill()
        await asyncio.shield(asyncio.to_thread(self._process.wait))
        for position, pending in enumerate(self._pending.values()):
            if not pending.done.done():
                pending.done.set_exception(WorkerDied("the worker died with this batch", computing=position == 0))

    async def _read(self) -> None:
        """Deliver answers until the child is gone, or says what cannot be understood."""
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                self._settle(await self._receive())

    async def _watch(self) -> None:
        """Return when the child hangs: silent for too long, or busy with one batch for too long."""
        loop = asyncio.get_running_loop()
        self._last_heard = loop.time()
        while True:
            await asyncio.sleep(self._settings.hung_after_s / 10)
            oldest = min((pending.since for pending in self._pending.values()), default=loop.time())
            if loop.time() - self._last_heard > self._settings.hung_after_s:
                return
            if loop.time() - oldest > self._settings.batch_timeout_s:
                return

    async def _receive(self) -> dict[str, Any]:
        header = await self._reader.readexactly(HEADER.size)
        size = HEADER.unpack(header)[0]
        if size > MAX_FRAME_BYTES:
            raise ValueError(f"a message of {size} bytes")
        message = unpack(await self._reader.readexactly(size))
        self._last_heard = asyncio.get_running_loop().time()
        return message

    def _settle(self, message: dict[str, Any]) -> None:
        """Deliver what the message brings. Raises ValueError if a batch is done whose answers are not one each."""
        pending = self._pending.get(message.get("batch", -1))
        if pending is None or pending.done.done():
            return
        match message:
            case {"kind": "answers", "answers": answers}:
                for index, answer, computed in answers:
                    pending.answers.deliver(index, unpack_answer(answer), computed)
            case {"kind": "done", "work": [tokens, bisections, memory_splits], "seconds": seconds}:
                pending.answers.check()
                pending.done.set_result(Batch(Work(tokens, bisections, memory_splits), seconds))
                for other in self._pending.values():
                    other.since = self._last_heard  # it begins only now
            case _:
                raise ValueError("a message that cannot be understood")
