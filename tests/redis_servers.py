"""A real redis-server of the tests' own, on a free loopback port."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

import redis

ROOT = Path(__file__).parent.parent


@cache
def tools():
    """The folder with `redis-server` and `redis-cli`."""
    script = ROOT / "tests/tools/debian.sh"
    found = subprocess.run(
        [str(script), "redis-server", "redis-server", "redis-cli"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip().splitlines()[-1])


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """A server process that can be stopped, frozen and started again on the same port."""

    def __init__(self, folder, *options, port=None, sentinel=False):
        self.folder, self.options, self.port = folder, options, port or free_port()
        self._sentinel = sentinel
        self.process = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, password=None):
        """Start it, and wait until it answers."""
        command = [str(tools() / "redis-server")]
        if self._sentinel:
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        command += ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        command += [] if self._sentinel else ["--save", "", "--appendonly", "no"]
        command += list(self.options)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(500):
            with contextlib.suppress(redis.ConnectionError):
                self.client(password=password).ping()
                return self
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            time.sleep(0.02)
        raise AssertionError((self.folder / "redis.log").read_text())

    def client(self, **options):
        """A client of the tests' own."""
        return redis.Redis(port=self.port, **options)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Stop it by its pid, frozen or not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def redis_server(folder, *options, **about):
    """A running server, stopped at the end."""
    server = RedisServer(folder, *options, **about)
    try:
        yield server.start()
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def delayed(server, seconds):
    """The server's URL by way of a proxy that passes on each piece of an answer so much later."""
    going = set()

    async def carry(reader, writer, wait_s):
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(1 << 16):
                    await asyncio.sleep(wait_s)
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.close()

    async def connected(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        for way in (carry(reader, back, 0), carry(there, writer, seconds)):
            task = asyncio.create_task(way)
            going.add(task)
            task.add_done_callback(going.discard)

    proxy = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
    finally:
        proxy.close()
        for task in list(going):
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        await asyncio.sleep(0)  # for the closing to be done
