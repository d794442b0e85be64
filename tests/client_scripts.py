"""Runs the scripts in `real_clients/` by the interpreter that has other projects' client libraries."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
INTERPRETER = ROOT / ".venv-clients" / "bin" / "python"
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore"}
"""Nothing is looked up elsewhere. What a library warns of is its own."""


def run(script: str, url: str, **case: Any) -> Any:
    """What the script printed last, read as JSON; its standard error is shown where it fails."""
    command = [INTERPRETER, ROOT / "tests" / "real_clients" / f"{script}.py", url]
    done = completed(command, input=json.dumps(case))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def completed(command: list[Any], **options: Any) -> "subprocess.CompletedProcess[str]":
    """A command of that environment, ended."""
    assert INTERPRETER.exists(), "the client libraries are missing: make install-clients"
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, **OFFLINE}, **options
    )
