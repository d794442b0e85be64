"""The process that an engine lives in: ``python -m guerdon.workers.child FD``.

It speaks length-prefixed msgpack over the socket that it inherits, and ends when the other end closes.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Answer, Query, Work
from guerdon.workers.messages import HEADER, frame, pack_answer, unpack, unpack_queries
from guerdon.workers.worker import Engine

BEAT_EVERY_S = 1.0
GATHER_S = 0.002
"""Answers wait so long for others to share their message, unless the batch is done before."""
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Options of glibc's mallopt, as malloc.h numbers them."""
log = logging.getLogger(__name__)

Load = Callable[[dict[str, Any]], Engine]
Batches = SimpleQueue[tuple[int, list[Query]] | None]


class Parent:
    """The other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, *messages: dict[str, Any]) -> None:
        """Send messages; safe from any thread."""
        with self._sending:
            self._connection.sendall(b"".join(map(frame, messages)))

    def receive(self) -> dict[str, Any] | None:
        """The next message; None once the parent is gone."""
        header = self._exactly(HEADER.size)
        if header is None:
            return None
        body = self._exactly(HEADER.unpack(header)[0])
        return None if body is None else unpack(body)

    def _exactly(self, count: int) -> bytes | None:
        received = bytearray()
        while len(received) < count:
            chunk = self._connection.recv(min(count - len(received), 1 << 20))
            if not chunk:
                return None
            received += chunk
        return bytes(received)


class Outbox:
    """The answers of the batch under way. A thread of its own sends them in company; `done` sends the rest."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._batch = 0
        self._waiting: deque[tuple[int, Any, int]] = deque()
        self._filled = threading.Event()
        self._flushing = threading.Lock()
        threading.Thread(target=self._flush_on_and_on, daemon=True).start()

    def begin(self, batch: int) -> None:
        """From now on the answers are those of this batch."""
        self._batch = batch

    def deliver(self, index: int, answer: Answer, computed: int) -> None:
        """Have one answer sent soon."""
        self._waiting.append((index, pack_answer(answer), computed))
        self._filled.set()

    def done(self, work: Work, seconds: float) -> None:
        """Send what is left, and that it was the last. Nothing else is begun before that is sent.

        Else a batch that ends the process would take the one before it along, and the blame would fall on that.
        """
        counted = (work.tokens, work.bisections, work.memory_splits)
        self._flush({"kind": "done", "batch": self._batch, "work": counted, "seconds": seconds})

    def _flush_on_and_on(self) -> None:
        try:
            while self._filled.wait():
                time.sleep(GATHER_S)
                if self._waiting:
                    self._flush()
        except OSError:
            return

    def _flush(self, *last: dict[str, Any]) -> None:
        with self._flushing:
            self._filled.clear()  # before they are taken: one that comes after that sets it again
            answers = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._parent.send({"kind": "answers", "batch": self._batch, "answers": answers}, *last)


def serve(parent: Parent, load: Load) -> None:
    """Load the engine that the first message describes, then answer batches until the parent is gone."""
    described = parent.receive()
    if described is None:
        return
    try:
        engine = load(described["settings"])
    except NotServable as error:
        parent.send({"kind": "not_servable", "message": str(error)})
        return
    parent.send({"kind": "loaded", "shares_prefixes": engine.shares_prefixes})
    threading.Thread(target=_beat, args=(parent,), daemon=True).start()
    batches: Batches = SimpleQueue()
    threading.Thread(target=_read, args=(parent, batches), daemon=True).start()
    outbox = Outbox(parent)
    while (asked := batches.get()) is not None:
        batch, queries = asked
        outbox.begin(batch)
        started = time.perf_counter()
        work = engine.compute(queries, outbox.deliver)
        outbox.done(work, time.perf_counter() - started)


def run(load: Load) -> None:
    """Serve over the inherited socket whose descriptor is the last argument."""
    # Ctrl-C reaches the whole process group; the parent decides when a child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=_JSON_LINES)
    try:
        serve(Parent(socket.socket(fileno=int(sys.argv[-1]))), load)
    except (BrokenPipeError, ConnectionResetError):
        log.warning("worker.parent_gone")


def _beat(parent: Parent) -> None:
    """Tell the parent, over and over, that this process runs: a stopped or swapped-out one does not."""
    try:
        while True:
            time.sleep(BEAT_EVERY_S)
            parent.send({"kind": "beat"})
    except OSError:
        return


def _read(parent: Parent, batches: Batches) -> None:
    """Read and unpack the next batches while one is computed."""
    try:
        while (message := parent.receive()) is not None:
            batches.put((message["batch"], unpack_queries(message["queries"])))
    except ConnectionResetError:
        log.warning("worker.parent_gone")
    finally:
        batches.put(None)


def _load_torch(settings: dict[str, Any]) -> Engine:
    # Read once, when torch is imported. Threads that spin while they wait take the cores from the gateway, and from
    # whichever of them they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _keep_memory()
    try:
        from guerdon.engines.settings import EngineSettings
        from guerdon.engines.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise NotServable(f"this needs {error.name}; run: pip install 'guerdon[torch]'") from error
    return TorchEngine(EngineSettings.model_validate_json(json.dumps(settings)))


def _keep_memory() -> None:
    """Have glibc reuse large blocks: to take them from the system for each operation costs a tenth of the time."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)):
            mallopt(option, value)


_JSON_LINES = '{"level": "%(levelname)s", "event": "%(message)s", "logger": "%(name)s", "process": %(process)d}'

if __name__ == "__main__":
    run(_load_torch)
