"""Makes the peers' own Python environments from pinned lists, once."""

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LISTS = Path(__file__).parent / "peers"
PEERS = ("vllm", "infinity")
TORCH = "torch==2.13.0"


def make_environment(peer: str, root: Path, pip_args: str = "") -> Path:
    """The Python of the peer's environment, which is made unless it is there with the same pins.

    ``pip_args`` says where wheels come from; for torch that should be its CPU build.
    """
    folder, pins = root / peer, LISTS / f"{peer}.txt"
    python, mark = folder / "bin" / "python", folder / "installed"
    made_from = hashlib.sha256(pins.read_bytes() + TORCH.encode()).hexdigest()
    if mark.is_file() and mark.read_text() == made_from:
        return python
    print(f"installing {peer} into {folder} (a few minutes) ...", file=sys.stderr)
    mark.unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *shlex.split(pip_args)]
    _run([*install, "-c", str(pins), TORCH])
    _run([*install, "--no-deps", "-r", str(pins)])
    mark.write_text(made_from)
    return python


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)
