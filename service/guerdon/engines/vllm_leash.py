"""Runs a command that ends when its parent does: ``python vllm_leash.py COMMAND ...``, the parent's pipe as input.

The first line on the pipe is a JSON object: what is added to the environment, where a command line would show it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 5.0


def main() -> int:
    """The command's exit status, as shells tell it. When the input ends, the whole process group goes with it."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # the command is sent it as well: wait for how it ends
    more = json.loads(_line())
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, env={**os.environ, **more})
    alone = threading.Event()
    threading.Thread(target=_end_with_parent, args=(command, alone), daemon=True).start()
    status = command.wait()
    if alone.is_set():
        os.killpg(0, signal.SIGKILL)
    return status if status >= 0 else 128 - status


def _line() -> bytes:
    """The pipe's first line; read byte by byte, so that nothing of it stays in a buffer."""
    line = b""
    while not line.endswith(b"\n") and (read := os.read(0, 1)):
        line += read
    return line or b"{}"


def _end_with_parent(command: "subprocess.Popen[bytes]", alone: threading.Event) -> None:
    while os.read(0, 1):
        pass
    alone.set()
    command.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
