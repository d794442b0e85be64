"""Ensembles of a running service: members that fail, comparisons, and aggregations that cost no forward pass."""

import math
import os
import signal
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import build_checkpoint
from running import serving

PROMPT = "How do I bake bread?"
RESPONSES = ["yes", "no, not at all", "yes yes yes"]
MEMBERS = {"mean": 0.0, "std": 1.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three classifiers in folders of their own, the last without a finite weight in its head."""
    root = tmp_path_factory.mktemp("members")
    made = {name: build_checkpoint("bert", root / name, seed=seed) for seed, name in enumerate(("one", "two", "nan"))}
    weights = load_file(made["nan"] / "model.safetensors")
    weights["classifier.weight"] = torch.full_like(weights["classifier.weight"], math.nan)
    save_file(weights, made["nan"] / "model.safetensors", metadata={"format": "pt"})
    return made


@pytest.fixture(scope="module")
def service(folders, tmp_path_factory):
    """Members apart, so that each fails alone; ``default`` is strict, ``lenient`` degrades."""
    scorers = {
        name: {"kind": "reward_model", "model": str(folder), "calibration": MEMBERS, "threads": 1}
        for name, folder in folders.items()
    }
    scorers["short"] = {**scorers["one"], "max_tokens": 24}
    config = {
        "scorers": scorers,
        "ensembles": {
            "default": {"members": ["one", "two"]},
            "lenient": {"members": ["one", "two"], "on_member_failure": "degrade"},
            "with_nan": {"members": ["one", "nan"]},
            "with_short": {"members": ["two", "short"]},
        },
        "limits": {"timeout_s": 20},
    }
    with serving(config, tmp_path_factory.mktemp("ensembles"), grpc=True) as running:
        yield running


def asking(model="default", responses=RESPONSES, **more):
    return {"model": model, "inputs": [{"prompt": PROMPT, "responses": responses}], **more}


def ask(service, model="default", responses=RESPONSES, **more):
    return service.post("/v1/score", asking(model, responses, **more))


def rewards(service, model, responses=RESPONSES):
    return ask(service, model, responses).json()["data"][0]["rewards"]


def close(value):
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def test_changing_the_aggregation_computes_nothing_again(api, service):
    """Member scores are stored: another method, or another lambda, needs no forward pass at all."""
    first = ask(api, detail="members").json()
    members = first["data"][0]["members"]
    scored = list(zip(members["one"], members["two"], strict=True))
    computed = service.metric("guerdon_computed_tokens_total")
    asked = [
        {"method": "uwo", "coefficient": 3.0, "ddof": 1}, {"method": "wco"}, {"method": "median"}, {"method": "lcb"},
        {"method": "quantile", "level": 0.5}, {"method": "cvar", "level": 0.5}, {"method": "borda"},
        {"method": "weighted", "weights": {"one": 1, "two": 2}}, {"method": "direction", "weights": {"one": 2}},
        {"method": "capped", "caps": {"one": 0}}, {"method": "maxmin", "groups": {"x": ["one"], "y": ["two"]}},
        {"method": "rank_mean"}, {"method": "pareto"}, {"method": "pareto_rank"},
    ]  # fmt: skip
    for how in asked:
        answer = ask(api, aggregation=how).json()
        assert answer["usage"]["cached"] == len(RESPONSES)
        assert answer["usage"]["tokens_computed"] == 0
        assert answer["aggregation"].items() >= how.items()
    assert service.metric("guerdon_computed_tokens_total") == computed
    weighted = ask(api, aggregation=asked[7]).json()["data"][0]["rewards"]
    assert weighted == close([one + 2 * two for one, two in scored])
    worst = ask(api, aggregation={"method": "maxmin", "groups": {"x": ["one"], "y": ["two"]}}).json()
    assert worst["data"][0]["rewards"] == close([min(pair) for pair in scored])


def test_what_does_not_go_together_is_told(api):
    """The field and the limit, for parameters and for members."""
    faults = {
        "wco has no use for level": ("", {"method": "wco", "level": 0.5}),
        "left out: two": (".weights", {"method": "weighted", "weights": {"one": 1}}),
        "there is no member three; members: one, two": (".caps", {"method": "capped", "caps": {"three": 1}}),
        "coefficient: at most 1 for 2 members": (".coefficient", {"method": "lcb", "coefficient": 1.5}),
        "did you mean 'uwo'?": (".method", {"method": "uow"}),
        "a number is needed": (".weights.one", {"method": "weighted", "weights": {"one": "1", "two": 1}}),
        "less than or equal": (".weights.one", {"method": "direction", "weights": {"one": 1e308}}),
    }
    for message, (field, how) in faults.items():
        if not api.expresses("/v1/score", asking(aggregation=how)):
            continue
        answer = ask(api, aggregation=how)
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]
        assert answer.json()["error"]["field"] == f"aggregation{field}"
    lone = ask(api, responses=["yes"], aggregation={"method": "borda"})
    assert lone.status_code == 422
    assert "borda compares responses" in lone.json()["error"]["message"]


def test_a_member_that_gives_nan_under_each_policy(api, service):
    """Strict: an error. Degrading: the other member's score, and who is missing why."""
    strict = ask(api, "with_nan")
    assert (strict.status_code, strict.json()["error"]["code"]) == (500, "non_finite")
    before = service.metric("guerdon_members_missing_total", model="with_nan", member="nan")
    lenient = ask(api, "with_nan", on_member_failure="degrade", detail="members").json()["data"][0]
    assert lenient["rewards"] == close(rewards(api, "one"))
    assert lenient["members_used"] == [["one"]] * 3
    assert set(lenient["members"]) == {"one"}
    assert [(e["response"], e["member"], e["code"]) for e in lenient["member_errors"]] == [
        (i, "nan", "non_finite") for i in range(3)
    ]
    assert service.metric("guerdon_members_missing_total", model="with_nan", member="nan") == before + 3


def test_members_of_different_length_limits(api):
    """Strict: the response that one member cannot read fails alone. Degrading: it is left to the other."""
    responses = ["yes", "no " * 40]
    strict = ask(api, "with_short", responses, partial=True).json()["data"][0]
    assert strict["kept"] == [0]
    assert [(e["response"], e["code"]) for e in strict["errors"]] == [(1, "response_too_long")]
    lenient = ask(api, "with_short", responses, on_member_failure="degrade").json()["data"][0]
    assert lenient["members_used"] == [["two", "short"], ["two"]]
    assert lenient["rewards"][1] == close(rewards(api, "two", responses)[1])
    assert lenient["rewards"][0] == close(strict["rewards"][0])
    card = next(m for m in api.get("/v1/models").json()["data"] if m["id"] == "with_short")
    assert card["limits"]["max_tokens"] == 24


def test_reranking_under_each_policy(api):
    """The same in a ranking."""
    body = {"model": "with_nan", "query": PROMPT, "documents": RESPONSES}
    assert api.post("/v1/rerank", body).status_code == 500
    degraded = api.post("/v1/rerank", {**body, "on_member_failure": "degrade"}).json()
    results = degraded["results"]
    assert [(e["response"], e["member"]) for e in degraded["member_errors"]] == [(i, "nan") for i in range(3)]
    assert all(result["members_used"] == ["one"] for result in results)
    alone = api.post("/v1/rerank", {**body, "model": "one"}).json()["results"]
    assert [result["index"] for result in results] == [result["index"] for result in alone]


def test_comparing_responses(api):
    """Probabilities are sigmoids of reward differences; strength is that of the members' margins."""
    body = {
        "model": "default",
        "inputs": [{"prompt": PROMPT, "responses": RESPONSES}],
        "aggregation": {"method": "mean"},
    }
    item = api.post("/v1/compare", body).json()["data"][0]
    scored = ask(api, aggregation={"method": "mean"}, detail="members").json()["data"][0]
    r, sigmoid = scored["rewards"], lambda x: 1 / (1 + math.exp(-x))
    assert item["pairs"] == [[0, 1], [0, 2], [1, 2]]
    assert item["rewards"] == close(r)
    assert item["probability"] == close([sigmoid(r[i] - r[j]) for i, j in item["pairs"]])
    wins = [[sigmoid(r[i] - r[j]) for j in range(3) if j != i] for i in range(3)]
    assert item["win_rate"] == close([sum(row) / 2 for row in wins])
    for (i, j), strength in zip(item["pairs"], item["strength"], strict=True):
        margins = [scores[i] - scores[j] for scores in scored["members"].values()]
        assert strength["mean"] == close(sum(margins) / 2)
        assert strength["std"] == close(abs(margins[0] - margins[1]) / 2)
        assert strength["agreement"] == (1.0 if margins[0] * margins[1] > 0 else 0.5)


def test_comparing_chosen_pairs_with_one_scorer(api):
    """In the order asked, each either way round; a single scorer has no strength."""
    body = {"model": "one", "inputs": [{"prompt": PROMPT, "responses": RESPONSES, "pairs": [[2, 0], [0, 2]]}]}
    item = api.post("/v1/compare", body).json()["data"][0]
    assert sum(item["probability"]) == pytest.approx(1)
    assert len(item["win_rate"]) == 3
    assert "strength" not in item
    for pairs, message in (([[0, 3]], "3 responses"), ([[1, 1]], "with itself"), ([[0]], "pairs")):
        body["inputs"][0]["pairs"] = pairs
        if not api.expresses("/v1/compare", body):
            continue
        answer = api.post("/v1/compare", body)
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]
        assert answer.json()["error"]["field"].startswith("inputs[0].pairs")
    alone = api.post("/v1/compare", {"model": "one", "inputs": [{"prompt": PROMPT, "responses": ["a"]}]})
    assert (alone.status_code, alone.json()["error"]["field"]) == (422, "inputs[0].responses")


def test_comparing_where_members_are_missing(api):
    """Each pair by the members that scored both; who is missing is told. Ranks have no probabilities."""
    body = {"model": "with_short", "inputs": [{"prompt": PROMPT, "responses": ["yes", "no", "no " * 40]}]}
    assert api.post("/v1/compare", body).status_code == 422
    lenient = api.post("/v1/compare", {**body, "on_member_failure": "degrade"}).json()["data"][0]
    assert lenient["members_used"] == [["two", "short"], ["two", "short"], ["two"]]
    assert [(e["response"], e["member"]) for e in lenient["member_errors"]] == [(2, "short")]
    two = rewards(api, "two", body["inputs"][0]["responses"])
    assert [one["mean"] for one in lenient["strength"][1:]] == close([two[0] - two[2], two[1] - two[2]])
    assert lenient["strength"][1]["std"] == 0
    ranks = api.post("/v1/compare", {**body, "on_member_failure": "degrade", "aggregation": {"method": "borda"}})
    assert (ranks.status_code, ranks.json()["error"]["field"]) == (422, "aggregation.method")


def test_a_tournament_is_bounded_and_quick(api):
    """Each with each of 362 is allowed, and nobody else waits for it; of 400 is not."""
    body = {"model": "one", "inputs": [{"prompt": PROMPT, "responses": [f"yes {i}" for i in range(400)]}]}
    refused = api.post("/v1/compare", body)
    assert (refused.status_code, refused.json()["error"]["field"]) == (413, "inputs")
    assert "79800 pairs are too many; at most 65536 (limits.max_pairs)" in refused.json()["error"]["message"]
    body["inputs"][0]["responses"] = body["inputs"][0]["responses"][:362]
    answer = api.post("/v1/compare", {**body, "model": "lenient"}).json()["data"][0]
    assert len(answer["probability"]) == len(answer["strength"]) == 362 * 361 // 2


def test_what_each_member_said_is_told_though_some_are_missing(api):
    """A null where a member failed, in scores as in the raw ones."""
    answer = ask(api, "with_short", ["yes", "no " * 40], on_member_failure="degrade", detail="members")
    item = answer.json()["data"][0]
    for told in (item["members"], item["members_raw"]):
        assert [score is None for score in told["short"]] == [False, True]
        assert None not in told["two"]


def test_a_dead_member_under_each_policy(service, folders):
    """All are killed, and one cannot come back, as its files have changed: strict requests fail, others go on."""
    before = rewards(service, "one", ["a dead member"])
    assert ask(service, "lenient", ["both are there"]).json()["data"][0]["members_used"] == [["one", "two"]]
    config = folders["two"] / "config.json"
    config.write_text(config.read_text() + " ")
    for pid in service.child_pids():
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while list(_unready(service)) != ["two"] or "files have changed" not in _unready(service)["two"]:
        assert time.monotonic() < until
        time.sleep(0.2)
    strict = ask(service, "default", ["a dead member"])
    assert (strict.status_code, strict.json()["error"]["code"]) == (503, "unavailable")
    lenient = ask(service, "lenient", ["a dead member"]).json()["data"][0]
    assert lenient["rewards"] == close(before)
    assert lenient["members_used"] == [["one"]]
    assert [(e["member"], e["code"]) for e in lenient["member_errors"]] == [("two", "unavailable")]


def _unready(service):
    """By engine, why it cannot run now."""
    return service.get("/readyz").json().get("engines", {})
