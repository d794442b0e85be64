"""Requests made up from the OpenAPI document, well-formed and not, against the running service."""

import pytest

from client_scripts import INTERPRETER, completed
from running import serving

IN_THEIR_OWN_WORDS = (
    "/classify", "/pooling", "/predict", "/rerank", "/score", "/v1/score", "/v1/embeddings", "/v1/chat/completions",
    "/v2/models/{model}", "/v2/models/{model}/ready", "/v2/models/{model}/infer",
)  # fmt: skip
"""Paths that refuse in the words of the protocol that was spoken, of which the document knows the native only."""


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


def tried(service, folder, checks, examples, *more):
    """The tool's own verdict, from every operation or those that are left."""
    (folder / "schemathesis.toml").write_text('[parameters]\nmodel = ["default", "pair", "no-such-model"]\n')
    command = [
        INTERPRETER.parent / "schemathesis", "run", f"{service.url}/openapi.json", "--checks", ",".join(checks),
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--generation-deterministic",
        "--workers", "1", "--continue-on-failure", "--no-color", *more,
    ]  # fmt: skip
    return completed(command, cwd=folder)


def test_every_answer_is_documented_and_none_is_a_server_error(service, tmp_path):
    """Over every operation: no 5xx, and no status or content type that the document does not name."""
    checks = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
    done = tried(service, tmp_path, checks, 20)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_body_is_as_documented(service, tmp_path):
    """Answers and refusals have the shape that the document gives them."""
    excluded = [part for path in IN_THEIR_OWN_WORDS for part in ("--exclude-path", path)]
    done = tried(service, tmp_path, ("response_schema_conformance",), 10, *excluded)
    assert done.returncode == 0, done.stdout + done.stderr
