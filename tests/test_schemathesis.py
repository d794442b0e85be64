"""Requests made up from the OpenAPI document, well-formed and not, against the running service."""

import pytest

from client_scripts import INTERPRETER, completed
from running import serving

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
)  # fmt: skip


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """Small models, so that many requests take little time."""
    config = {
        "scorers": {
            "default": {"kind": "reward_model", "model": str(checkpoint("qwen3"))},
            "second": {"kind": "reward_model", "model": str(checkpoint("bert", seed=1))},
        },
        "ensembles": {"pair": {"members": ["default", "second"], "calibration": "none"}},
    }
    with serving(config, tmp_path_factory.mktemp("schemathesis")) as running:
        yield running


def test_every_answer_is_documented_and_none_is_a_server_error(service, tmp_path):
    """Over every operation: no 5xx, and no status, content type or body that the document does not name."""
    (tmp_path / "schemathesis.toml").write_text('[parameters]\nmodel = ["default", "pair", "no-such-model"]\n')
    command = [
        INTERPRETER.parent / "schemathesis", "run", f"{service.url}/openapi.json", "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--generation-deterministic",
        "--workers", "1", "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    done = completed(command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
