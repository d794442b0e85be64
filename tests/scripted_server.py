"""An HTTP server of the standard library that answers as a test says."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request as it arrived; ``port`` tells its connection."""

    path: str
    headers: dict[str, str]
    body: Any
    port: int


@dataclass
class Answer:
    """What is answered; status 0: the connection is closed instead. ``after``: not before this is set."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: threading.Event | None = None


@dataclass
class Scripted:
    url: str
    asked: list[Asked]


Script = Callable[[int, Asked], Answer]


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    """Answers the n-th request (from 0) as ``script(n, request)`` says, each connection on a thread of its own."""
    asked: list[Asked] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {key.lower(): value for key, value in self.headers.items()}
            request = Asked(self.path, headers, body, self.client_address[1])
            with lock:
                at = len(asked)
                asked.append(request)
            self._answer(script(at, request))

        do_GET = do_POST

        def _answer(self, answer):
            if answer.after is not None:
                answer.after.wait(30)
            if answer.status == 0:
                self.close_connection = True
                return
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for key, value in {"content-length": str(len(content)), **answer.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Scripted(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
