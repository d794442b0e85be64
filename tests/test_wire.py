"""Requests as other projects' clients send them, replayed: each is answered in the shape that its client reads."""

import json
import re

import httpx
import pytest

from oracle import reference_ids
from running import serving
from wire_pairs import FILES, differences, filled, read, with_ids

VERSION = re.compile(r"\d+\.\d+|\bcommit [0-9a-f]{7,40}\b")


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """A chat reward model as the default, an ensemble of two, a model with three heads."""
    models = {
        "default": checkpoint("qwen3"),
        "other": checkpoint("qwen3", seed=1),
        "aspects": checkpoint("qwen3", seed=2, num_labels=3),
    }
    config = {
        "scorers": {name: {"kind": "reward_model", "model": str(folder)} for name, folder in models.items()},
        "ensembles": {"pair": {"members": ["default", "other"], "calibration": "none"}},
        "aliases": {"model": "default"},
        "compatible": {"principle": "system"},
    }
    with serving(config, tmp_path_factory.mktemp("wire")) as running:
        yield running


def rewards_of(service, scored):
    """What the native route says."""
    for case in scored:
        answer = service.post("/v1/score", {"model": case["model"], "inputs": [without_model(case)]})
        yield from answer.json()["data"][0]["rewards"]


def without_model(case):
    return {key: value for key, value in case.items() if key != "model"}


def token_ids(folder, case):
    messages = case.get("messages") or [{"role": "user", "content": case["prompt"]}]
    return reference_ids(folder, [*messages, {"role": "assistant", "content": case["responses"][0]}])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_client_is_answered_in_the_shape_that_it_reads(service, checkpoint, file):
    """Status and body, completely, the rewards being those of the native route."""
    pair = read(file)
    request = pair["request"]
    body = with_ids(request.get("body"), lambda index: token_ids(checkpoint("qwen3"), pair["scored"][index]))
    answer = httpx.request(
        request["method"],
        service.url + request["path"],
        headers=request["headers"],
        content=json.dumps(body) if "body" in request else None,
        timeout=60,
    )
    assert answer.status_code == pair["status"], answer.text
    if "answer" in pair:
        expected = filled(pair["answer"], list(rewards_of(service, pair["scored"])))
        assert list(differences(expected, answer.json())) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_request_was_recorded_from_a_client_of_a_known_version(file):
    """So each can be recorded again."""
    pair = read(file)
    assert pair["request_is"] == "recorded"
    assert VERSION.search(pair["client"]), pair["client"]


def test_sglangs_classify_is_put_as_well_as_posted(service):
    """As in SGLang, the method makes no difference to the rewards."""
    body = {"model": "default", "text": ["one text", "another"]}
    posted, put = (
        httpx.request(method, service.url + "/classify", json=body, timeout=60) for method in ("POST", "PUT")
    )
    assert put.status_code == 200, put.text
    assert [row["embedding"] for row in put.json()] == [row["embedding"] for row in posted.json()]


def test_every_way_to_differ_is_told():
    """The comparison lets nothing pass: a missing key, one too many, a near miss, another type."""
    expected = {"a": 1.5, "b": ["$int"], "c": {"d": None, "$more": True}}
    assert list(differences(expected, {"a": 1.5, "b": [3], "c": {"d": None, "e": 1}})) == []
    for other in (
        {"a": 1.5, "b": [3]},
        {"a": 1.5, "b": [3], "c": {"d": None}, "f": 1},
        {"a": 1.5001, "b": [3], "c": {"d": None}},
        {"a": 1.5, "b": [3, 4], "c": {"d": None}},
        {"a": 1.5, "b": [True], "c": {"d": None}},
        {"a": 1.5, "b": [3], "c": {"d": False}},
    ):
        assert len(list(differences(expected, other))) == 1
