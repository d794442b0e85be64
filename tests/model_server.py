"""A server that speaks as vLLM does and says what a test tells it to; as a thread, or in place of vLLM as a child."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOO_LONG = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, "
    "1000 in the completion). Please reduce the length of the messages or completion."
)
"""How vLLM refuses what does not fit; some of its versions tell of a maximum model length."""


@dataclass
class Asked:
    """A request as it arrived, once its body was read."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def text(self) -> str:
        """All turns of a chat."""
        return "\n".join(turn["content"] for turn in self.body["messages"])


@dataclass
class Reply:
    """What is answered: JSON, or bytes as they are. ``after``: not before this is set.

    ``breaks_off``: the connection is closed after half of the answer. ``hangs``: there is none, until the caller
    closes the connection.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: threading.Event | None = None
    breaks_off: bool = False
    hangs: bool = False


Script = Callable[[Asked], Reply]


def refusal(status: int, message: str = "no", **headers: str) -> Reply:
    """An error as vLLM words it."""
    said = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
    return Reply(said, status, {key.replace("_", "-"): value for key, value in headers.items()})


def chat(text: str, first: dict[str, float] | None = None, *, finish: str = "stop", **message: str) -> Reply:
    """A chat completion; ``first`` are the log-probabilities of its first token's alternatives."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    if first is not None:
        told = [{"token": token, "logprob": log, "bytes": None} for token, log in first.items()]
        choice["logprobs"] = {"content": [{**told[0], "top_logprobs": told}]}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return Reply({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage})


def pooled(rows: list[Any]) -> Reply:
    """What pooling answers, the last row first: each row has its number."""
    data = [{"index": at, "object": "pooling", "data": row} for at, row in enumerate(rows)]
    return Reply({"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 5, "total_tokens": 5}})


class ModelServer:
    """Answers requests as the script says, and GETs as vLLM; can be stopped and started again on the same port."""

    def __init__(self, script: Script, *, models: tuple[str, ...] = ("judge",), key: str = "", port: int = 0) -> None:
        self.script, self.models, self.key = script, models, key
        self.asked: list[Asked] = []
        self.looked_after = 0
        self.under_way = self.most_under_way = 0
        self.hung_up = threading.Event()
        self.well = Reply()
        self.lists = Reply()
        self.port = port
        self.lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "ModelServer":
        self._server = _Server(self)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As when its process is killed: connections that are open break."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut_off()

    def answer_to(self, path: str, headers: dict[str, str]) -> Reply | None:
        """What does not depend on the script: a wrong key, and looks at the server. None for requests."""
        if path == "/health":
            with self.lock:
                self.looked_after += 1
            return self.well
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return Reply({"error": "Unauthorized"}, 401)
        if path == "/v1/models":
            cards = [{"id": name, "object": "model"} for name in self.models]
            return self.lists if self.lists.status != 200 else Reply({"object": "list", "data": cards})
        return None

    @contextlib.contextmanager
    def working(self, asked: Asked) -> Iterator[None]:
        with self.lock:
            self.asked.append(asked)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            yield
        finally:
            with self.lock:
                self.under_way -= 1


@contextlib.contextmanager
def model_server(script: Script, **about: Any) -> Iterator[ModelServer]:
    """A running server, stopped at the end."""
    server = ModelServer(script, **about).start()
    try:
        yield server
    finally:
        server.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: ModelServer) -> None:
        self.owner = owner
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", owner.port), _Handler)

    def cut_off(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        headers = {key.lower(): value for key, value in self.headers.items()}
        owner = self.server.owner
        known = owner.answer_to(self.path, headers)
        if known is not None:
            self._answer(known)
            return
        asked = Asked(self.path, headers, body)
        with owner.working(asked):
            self._answer(owner.script(asked))

    do_GET = do_POST

    def _answer(self, reply: Reply) -> None:
        if reply.after is not None:
            reply.after.wait(60)
        if reply.hangs:
            with contextlib.suppress(OSError):
                self.connection.recv(1, socket.MSG_PEEK)
            self.server.owner.hung_up.set()
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for key, value in {"content-length": str(len(content)), **reply.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content[: len(content) // 2] if reply.breaks_off else content)
        self.close_connection = self.close_connection or reply.breaks_off

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def stand_in(folder: Path) -> Path:
    """An interpreter for `vllm_python`: whatever module it is to run, it runs this server.

    It writes its process ids to ``folder``/pids, a line for each life, and makes a file ``asked`` at the first request.
    Where there is a file ``broken``, it dies of it; the first life answers no chat where there is a file ``stuck``.
    """
    program = folder / "python-with-vllm"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from model_server import main\nmain({str(folder)!r})\n"
    )
    program.chmod(0o755)
    return program


def lives(folder: Path) -> list[list[int]]:
    """The process ids of each life of a stand-in so far."""
    file = folder / "pids"
    return [[int(pid) for pid in line.split()] for line in file.read_text().splitlines()] if file.exists() else []


def main(folder: str) -> None:
    """A stand-in's life."""
    here = Path(folder)
    print("INFO stand-in starts:", *sys.argv[1:], flush=True)
    if (here / "broken").exists():
        raise RuntimeError((here / "broken").read_text())
    options = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=False))
    own = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    life = len(lives(here))
    hangs = life == 0 and (here / "stuck").exists()

    def script(asked: Asked) -> Reply:
        (here / "asked").touch()
        return Reply(hangs=True) if hangs else chat(f"{os.getpid()}")

    ModelServer(script, models=(options["--served-model-name"],), port=int(options["--port"])).start()
    with (here / "pids").open("a") as file:
        file.write(f"{os.getpid()} {own.pid}\n")
    threading.Event().wait()
