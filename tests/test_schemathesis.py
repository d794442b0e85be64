"""Requests made up from the OpenAPI document, well-formed and not, against the running service."""

import pytest

from client_scripts import INTERPRETER, completed
from running import serving

CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance"


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """A small model, so that many requests take little time."""
    config = {
        "scorers": {
            "default": {"kind": "reward_model", "model": str(checkpoint("qwen3"))},
            "other": {"kind": "reward_model", "model": str(checkpoint("bert", seed=1))},
        },
        "ensembles": {"pair": {"members": ["default", "other"], "calibration": "none"}},
    }
    with serving(config, tmp_path_factory.mktemp("schemathesis")) as running:
        yield running


@pytest.mark.timeout(400)
def test_every_answer_is_documented_and_none_is_a_server_error(service, tmp_path):
    """Over every operation: no 5xx, no status and no body that the document does not name."""
    command = [
        INTERPRETER.parent / "schemathesis", "run", f"{service.url}/openapi.json",
        "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "20",
        "--seed", "1", "--generation-deterministic", "--generation-database", "none",
        "--workers", "1", "--no-color", "--continue-on-failure",
    ]  # fmt: skip
    done = completed(command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
