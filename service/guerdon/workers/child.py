"""The process that an engine lives in: ``python -m guerdon.workers.child FD``.

It speaks length-prefixed msgpack over the socket that it inherits, and ends when the other end closes.
"""

import json
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Query
from guerdon.workers.messages import HEADER, frame, pack_answers, unpack, unpack_queries

BEAT_EVERY_S = 1.0
log = logging.getLogger(__name__)


class Engine(Protocol):
    """What a child hosts."""

    def compute(self, queries: Sequence[Query]) -> Any:
        """Answer every query, and count the work."""
        ...


Load = Callable[[dict[str, Any]], Engine]


class Parent:
    """The other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; safe from any thread."""
        with self._sending:
            self._connection.sendall(frame(message))

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
    parent.send({"kind": "loaded"})
    threading.Thread(target=_beat, args=(parent,), daemon=True).start()
    while (message := parent.receive()) is not None:
        started = time.perf_counter()
        done = engine.compute(unpack_queries(message["queries"]))
        parent.send(
            {
                "kind": "answers",
                "batch": message["batch"],
                "answers": pack_answers(done.answers),
                "tokens": done.tokens,
                "bisections": done.bisections,
                "seconds": time.perf_counter() - started,
            }
        )


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


def _load_torch(settings: dict[str, Any]) -> Engine:
    try:
        from guerdon.engines.settings import EngineSettings
        from guerdon.engines.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise NotServable(f"this needs {error.name}; run: pip install 'guerdon[torch]'") from error
    return TorchEngine(EngineSettings.model_validate_json(json.dumps(settings)))


_JSON_LINES = '{"level": "%(levelname)s", "event": "%(message)s", "logger": "%(name)s", "process": %(process)d}'

if __name__ == "__main__":
    run(_load_torch)
