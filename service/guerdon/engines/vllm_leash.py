"""Runs a command that ends when its parent does: ``python vllm_leash.py COMMAND ...``, the parent's pipe as input."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 5.0


def main() -> int:
    """The command's exit status. When the input ends, the whole process group goes with it."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_parent, args=(command,), daemon=True).start()
    return command.wait()


def _end_with_parent(command: "subprocess.Popen[bytes]") -> None:
    while sys.stdin.buffer.read(1):
        pass
    command.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
