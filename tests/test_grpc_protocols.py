"""The protocol files: what is generated from them, how they read, and what does without them."""

import filecmp
import json
import re
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from guerdon.transport import answers
from guerdon.transport.schemas import CompareRequest, RerankRequest, ScoreRequest
from guerdon_client.stubs.guerdon.v1 import answers_pb2, requests_pb2
from over_grpc import CALLS
from running import serving

ROOT = Path(__file__).parents[1]
PROTOCOLS = ROOT / "clients/proto"
BUF = Path(sysconfig.get_path("scripts")) / "buf"
STUBS = ROOT / "clients/guerdon_client/stubs"
HTTP_ONLY = {
    "use_activation", "raw_scores", "truncate_prompt_tokens", "max_tokens_per_doc", "max_chunks_per_doc", "rank_fields",
    "relevant_spans", "priority", "user",
}  # fmt: skip
"""What clients of other rerankers send."""


def sources(folder):
    return {path.relative_to(folder) for path in folder.rglob("*.py*") if path.suffix in (".py", ".pyi")}


def test_the_stubs_are_those_of_the_protocols(tmp_path):
    """Generated again, they are the same files with the same content: `make stubs` has been run."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from generate import *; generate(Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, str(PROTOCOLS), str(tmp_path)], check=True, timeout=60)
    assert sources(tmp_path) == sources(STUBS)
    _, differing, failed = filecmp.cmpfiles(tmp_path, STUBS, map(str, sources(STUBS)), shallow=False)
    assert (differing, failed) == ([], [])


def test_the_protocols_pass_the_linter(tmp_path):
    """As `make lint` calls it; and that it reads them is seen by what it says of a rule that they break."""
    compiled = tmp_path / "protocols.binpb"
    subprocess.run([sys.executable, str(PROTOCOLS / "generate.py"), str(compiled)], check=True, timeout=60)
    buf = [str(BUF), "lint", str(compiled), "--path=guerdon", "--path=tei"]

    def linted(rules):
        command = [*buf, "--config", rules]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    assert linted(str(PROTOCOLS / "buf.yaml")) == ""
    strict = linted("{version: v2, lint: {use: [STANDARD]}}")
    assert "tei/v1/tei.proto" in strict
    assert "guerdon/v1" not in strict


def test_make_lints_what_the_test_lints():
    """The folders are the same."""
    assert "--path guerdon --path tei" in (ROOT / "Makefile").read_text()


def test_the_page_shows_how_to_ask(checkpoint, tmp_path):
    """Its two calls, one in Python and one by a tool that knows the service by reflection only, say what HTTP says."""
    page = (ROOT / "docs/grpc.md").read_text()
    (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shell,) = re.findall(r"```sh\n(buf curl.*?)```", page, re.DOTALL)
    config = {"scorers": {"default": {"kind": "reward_model", "model": str(checkpoint("bert"))}}}
    with serving(config, tmp_path, grpc=True) as service:
        inputs = [{"prompt": "How do I boil an egg?", "responses": ["Eight minutes."]}]
        expected = service.post("/v1/score", {"inputs": inputs}).json()["data"][0]["rewards"]
        names = {}
        exec(python.replace("127.0.0.1:50051", service.grpc), names)
        assert list(names["answer"].data[0].rewards) == expected
        called = shell.replace("127.0.0.1:50051", service.grpc).replace("buf", str(BUF), 1)
        told = subprocess.run(called, shell=True, capture_output=True, text=True, timeout=60, check=True).stdout
        assert json.loads(told)["data"][0]["rewards"] == expected


@pytest.mark.parametrize(
    ("message", "body", "left_out"),
    [
        (requests_pb2.ScoreRequest, ScoreRequest, set()),
        (requests_pb2.CompareRequest, CompareRequest, set()),
        (requests_pb2.RerankRequest, RerankRequest, HTTP_ONLY | {"documents"}),
        (answers_pb2.ScoreResponse, answers.ScoreAnswer, set()),
        (answers_pb2.ScoredInput, answers.InputAnswer, set()),
        (answers_pb2.RerankResponse, answers.RerankAnswer, set()),
        (answers_pb2.RerankResult, answers.RerankResult, set()),
        (answers_pb2.CompareResponse, answers.CompareAnswer, set()),
        (answers_pb2.ComparedInput, answers.ComparedAnswer, set()),
        (answers_pb2.Strength, answers.Strength, set()),
        (answers_pb2.Usage, answers.Usage, set()),
        (answers_pb2.ModelCard, answers.ModelCard, set()),
        (answers_pb2.ListModelsResponse, answers.ModelList, set()),
        (requests_pb2.Aggregation, answers.AggregationUsed, set()),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_messages_mirror_the_json_field_for_field(message, body, left_out):
    """What JSON gets, protobuf gets: but for keys that other servers' clients send to no effect."""
    assert set(message.DESCRIPTOR.fields_by_name) == set(body.model_fields) - left_out


def test_every_native_call_is_tested_over_both():
    """The paths that tests may ask over either transport are those whose bodies exist in both."""
    assert {kind for _, kind in CALLS.values()} == {
        requests_pb2.ScoreRequest,
        requests_pb2.RerankRequest,
        requests_pb2.CompareRequest,
    }


def test_without_the_extra_all_else_works():
    """Neither the client nor the command imports grpc; a gRPC server that is asked for says what to install."""
    code = (
        "import sys; sys.modules['grpc'] = None; import guerdon_client, guerdon.cli.main as main; "
        "main.main(['serve', '--port', '0', '--grpc-port', '0'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "gRPC needs grpc; run: pip install 'guerdon[grpc]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_stops_the_server(checkpoint, tmp_path):
    """It is not shared with whoever has it."""
    scorer = {"kind": "reward_model", "model": str(checkpoint("bert")), "placement": "inline", "threads": 1}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = {"scorers": {"one": scorer}, "grpc": {"port": taken.getsockname()[1]}}
        with (
            pytest.raises(AssertionError, match=r"gRPC cannot listen on .*: the port is taken"),
            serving(made, tmp_path),
        ):
            pass


def test_the_configuration_alone_turns_it_on(checkpoint, tmp_path):
    """`grpc.port` needs no option; without both there is no gRPC."""
    scorer = {"kind": "reward_model", "model": str(checkpoint("bert")), "placement": "inline", "threads": 1}
    with serving({"scorers": {"one": scorer}, "grpc": {"port": 0}}, tmp_path) as service:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", service.grpc)
    with serving({"scorers": {"one": scorer}}, tmp_path) as service:
        assert service.grpc == ""


def test_the_ports_of_the_image_and_of_compose_are_the_documented_one():
    """50051, on loopback only."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["guerdon"]
    assert "127.0.0.1:${GUERDON_GRPC_PORT:-50051}:50051" in compose["ports"]
    assert compose["environment"]["GUERDON_GRPC__PORT"] == 50051
    assert "EXPOSE 8000 50051" in (ROOT / "Dockerfile").read_text()
