"""Judges as they are served: their reports, what requests say to them, caches, ensembles, and faults told."""

import json
import re
import threading
import time

import pytest

from guerdon.config.load import parse
from guerdon.domain.errors import NotServable
from guerdon.wiring import plan
from judged import order_of
from model_server import Reply, chat, model_server, refusal
from redis_servers import redis_server
from running import serving

PROMPT = "What is the capital of Australia?"
RESPONSES = ["It is response 3.", "It is response 9.", "It is response 6."]
CALIBRATION = {"mean": 5.0, "std": 2.0}


class Text:
    """A chat as it arrived, for those who read chats."""

    def __init__(self, asked):
        self.messages = [type("Turn", (), {"content": turn["content"]}) for turn in asked.body["messages"]]


def judge(asked):
    """Scores each response by the number in it, in whatever form it is held to."""
    if "nonsense" in asked.text:
        return chat("I would rather not say.")
    form = asked.body.get("structured_outputs", {})
    if "choice" in form:
        return choose(asked, form["choice"])
    wanted = form["json"]["properties"]
    numbers = order_of(Text(asked))
    if "action" in wanted or "rationale" in wanted:
        return chat(json.dumps({"rationale": "counted", "score": numbers[0]}))
    if "best-to-worst" in wanted:
        scores = {f"model-{place}": (number + 1) // 2 for place, number in enumerate(numbers, 1)}
        ranking = sorted(scores, key=scores.get, reverse=True)
        return chat(json.dumps({"analysis": "counted", "scores": scores, "best-to-worst": ranking}))
    if "scores" in wanted:
        hidden = wanted["scores"]["minItems"] - len(numbers)
        scores = numbers + [1] * hidden if len(numbers) + hidden > 1 else [1]
        return chat(json.dumps({"criteria": "numbers", "analysis": "counted", "scores": scores}))
    return chat(json.dumps({"analysis": "counted", "score": (numbers[0] + 1) // 2}))


def choose(asked, choices):
    """The higher number of two is twice as probable; of one, YES with nine in ten where it is the reference's."""
    if choices == ["YES", "NO"]:
        return chat("YES", {"YES": -0.105, "NO": -2.303})
    first, second = order_of(Text(asked))
    return chat("A", {"A": 0.0, "B": -0.693} if first > second else {"A": -0.693, "B": 0.0})


@pytest.fixture(scope="module")
def model():
    """The model that judges."""
    with model_server(judge) as server:
        yield server


@pytest.fixture(scope="module")
def other():
    """The model of the judge that goes down."""
    with model_server(judge) as server:
        yield server


def scorer(server, recipe, **more):
    asked = {"engine": "vllm", "model": "judge", "url": server.url}
    return {"kind": "judge", "recipe": recipe, "calibration": CALIBRATION, **asked, **more}


@pytest.fixture(scope="module")
def service(model, other, checkpoint, tmp_path_factory):
    """A judge of every recipe, a scalar reward model, and ensembles of both."""
    recipes = ("principle", "pairwise", "verifier", "rubric", "tool")
    scalar = {"kind": "reward_model", "model": str(checkpoint("bert")), "calibration": {"mean": 0, "std": 1}}
    scalar["truncation"] = "left"  # it rates long prompts of judges, too
    config = {
        "scorers": {
            "grm": scorer(model, "grm", votes=2),
            **{recipe: scorer(model, recipe) for recipe in recipes},
            "rated": scorer(model, "grm", votes=4, meta="scalar", combine="sum"),
            "failing": scorer(other, "grm"),
            "scalar": {**scalar, "threads": 1},
            "short": {**scalar, "threads": 1, "max_tokens": 64, "truncation": "error"},
        },
        "ensembles": {
            "default": {"members": ["scalar", "grm"], "aggregation": {"method": "wco"}},
            "partly": {"members": ["short", "grm"]},
            "strict": {"members": ["scalar", "failing"], "aggregation": {"method": "wco"}},
            "lenient": {
                "members": ["scalar", "failing"],
                "aggregation": {"method": "wco"},
                "on_member_failure": "degrade",
            },
        },
        "limits": {"timeout_s": 30},
    }
    with serving(config, tmp_path_factory.mktemp("judges"), grpc=True) as running:
        yield running


def body_of(name, responses=RESPONSES, prompt=PROMPT, **more):
    own = {key: more.pop(key) for key in ("reference", "principle") if key in more}
    return {"model": name, "inputs": [{"prompt": prompt, "responses": responses, **own}], **more}


def ask(api, name, responses=RESPONSES, **more):
    return api.post("/v1/score", body_of(name, responses, **more))


def item_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]


def close(value):
    return pytest.approx(value, rel=1e-3)


EXPECTED = {
    "grm": [3, 9, 6],
    "principle": [2, 5, 3],
    "pairwise": [1 / 3, 2 / 3, 1 / 2],
    "verifier": [0.9, 0.9, 0.9],
    "rubric": [2, 5, 3],
    "tool": [3, 9, 6],
}


@pytest.mark.parametrize("recipe", EXPECTED)
def test_every_recipe_is_served(api, recipe):
    """Rewards in the order of the responses, whatever order the model saw; and how many votes there were."""
    own = {"verifier": {"reference": "Canberra"}, "principle": {"principle": "The more the better."}}
    item = item_of(ask(api, recipe, **own.get(recipe, {})))
    assert item["rewards"] == close(EXPECTED[recipe])
    reports = item["judges"][recipe]
    set_wise = recipe in ("grm", "principle", "pairwise")
    assert [report["responses"] for report in reports] == ([[0, 1, 2]] if set_wise else [[0], [1], [2]])
    for report in reports:
        assert report["votes"] == report["valid"] == report["kept"] == (2 if recipe == "grm" else 1)
        assert report["prompt_tokens"] >= 7
        assert "ballots" not in report


def test_what_the_model_wrote_is_told_on_demand(api):
    """Each vote with its rationale."""
    item = item_of(ask(api, "grm", detail="rationale"))
    (report,) = item["judges"]["grm"]
    assert len(report["ballots"]) == 2
    for ballot in report["ballots"]:
        assert ballot["scores"] == [3, 9, 6]
        assert json.loads(ballot["rationale"])["analysis"] == "counted"


def test_judges_rank(api):
    """The best first, with the report beside."""
    body = {"model": "grm", "query": PROMPT, "documents": RESPONSES}
    answer = api.post("/v1/rerank", body).json()
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [(1, 9), (2, 6), (0, 3)]
    assert [report["responses"] for report in answer["judges"]["grm"]] == [[0, 1, 2]]


def test_a_pairwise_judge_compares_by_what_it_said_of_each_pair(api):
    """Two to one for the higher number: not what its scores would come to as logits."""
    item = item_of(api.post("/v1/compare", body_of("pairwise")))
    assert item["pairs"] == [[0, 1], [0, 2], [1, 2]]
    assert item["probability"] == close([1 / 3, 1 / 3, 2 / 3])
    assert item["win_rate"] == close([1 / 3, 2 / 3, 1 / 2])
    scored = item_of(api.post("/v1/compare", body_of("grm")))
    assert scored["probability"][0] == close(1 / (1 + 2.718281828**6))


@pytest.mark.parametrize(("recipe", "field"), [("verifier", "reference"), ("principle", "principle")])
def test_what_a_judge_needs_and_what_it_has_no_use_for(api, recipe, field):
    """Both are told by the field's name."""
    lacking = ask(api, recipe)
    assert (lacking.status_code, lacking.json()["error"]["code"]) == (422, "invalid")
    assert field in lacking.json()["error"]["message"]
    assert lacking.json()["error"]["field"] == f"inputs[0].{field}"
    lacking = api.post("/v1/rerank", {"model": recipe, "query": PROMPT, "documents": RESPONSES})
    assert (lacking.status_code, lacking.json()["error"]["field"]) == (422, field)
    useless = ask(api, "grm", **{field: "Canberra"})
    assert (useless.status_code, useless.json()["error"]["field"]) == (422, f"inputs[0].{field}")


def test_a_verdict_that_cannot_be_read_is_an_error(api, service):
    """With its own code, and never a score; the votes are counted."""
    before = service.metric("guerdon_judge_votes_total", scorer="grm", result="unparsable")
    answer = ask(api, "grm", prompt=f"nonsense {id(api)}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "unparsable_verdict")
    assert "0 of 2 votes hold a verdict" in error["message"]
    assert service.metric("guerdon_judge_votes_total", scorer="grm", result="unparsable") == before + 2


def test_a_lone_response_cannot_be_compared(api):
    """The recipe's own word."""
    answer = ask(api, "pairwise", ["It is response 1."])
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "inputs[0].responses")
    assert "needs 2 at least" in answer.json()["error"]["message"]


def test_the_guard_s_refusals_are_told_and_counted(api, service):
    """By the place that the response has in the request."""
    before = service.metric("guerdon_judge_refused_total", scorer="grm", reason="content_free")
    responses = [RESPONSES[0], "Solution:", f"It is response 9. {id(api)}"]
    item = item_of(ask(api, "tool", responses))
    assert item["rewards"][1] == 1
    refused = [told for report in item["judges"]["tool"] for told in report.get("refused", ())]
    assert refused == [{"response": 1, "reason": "content_free"}]
    item_of(ask(api, "rated", ["Solution:", f"It is response 9. {id(api)}"]))
    assert service.metric("guerdon_judge_refused_total", scorer="grm", reason="content_free") == before
    assert service.metric("guerdon_judge_refused_total", scorer="rated", reason="content_free") >= 1


def test_an_equal_question_is_answered_from_the_cache_and_another_seed_asks_again(api, model):
    """With the same report; the seed is part of the question."""
    prompt = f"{PROMPT} {id(api)}"
    first = item_of(ask(api, "grm", prompt=prompt, seed=1, detail="rationale"))
    asked = len(model.asked)
    again = ask(api, "grm", prompt=prompt, seed=1, detail="rationale")
    assert item_of(again) == first
    assert again.json()["usage"]["cached"] == 3
    assert len(model.asked) == asked
    other_seed = item_of(ask(api, "grm", prompt=prompt, seed=2))
    assert other_seed["rewards"] == first["rewards"]
    assert len(model.asked) == asked + 2
    sent = [asked.body["seed"] for asked in model.asked[-4:]]
    assert len(set(sent)) == 4


def test_a_scalar_model_has_no_use_for_a_seed(api):
    """An ensemble has where a judge is among its members."""
    answer = ask(api, "scalar", seed=1)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "seed")
    assert ask(api, "default", seed=1).status_code == 200


def test_votes_that_a_reward_model_rates(api):
    """Half of them count, each with what it was rated."""
    (report,) = item_of(ask(api, "rated", detail="rationale"))["judges"]["rated"]
    assert [report[name] for name in ("votes", "valid", "kept")] == [4, 4, 2]
    assert report["sum"] == [6, 18, 12]
    assert all(isinstance(ballot["meta"], float) for ballot in report["ballots"])


def test_a_judge_beside_a_scalar_model(api):
    """WCO of calibrated scores: the lower one of each response; the judge's report is there."""
    item = item_of(ask(api, "default", detail="members"))
    members = item["members"]
    assert members["grm"] == close([(number - 5) / 2 for number in (3, 9, 6)])
    assert members["scalar"] == close(item_of(ask(api, "scalar"))["rewards"])
    assert item["rewards"] == close([min(pair) for pair in zip(members["grm"], members["scalar"], strict=True)])
    assert list(item["judges"]) == ["grm"]


def test_a_report_speaks_of_all_responses_though_some_have_no_reward(api):
    """One is too long for the other member, and one is refused by the guard: its place is the caller's."""
    responses = [RESPONSES[0], "It is response 9. " + "no " * 80, "Solution:"]
    for name, body in (("data", body_of("partly", responses)), ("", {"query": PROMPT, "documents": responses})):
        answer = api.post("/v1/score" if name else "/v1/rerank", {**body, "model": "partly", "partial": True})
        assert answer.status_code == 200, answer.text
        item = answer.json()["data"][0] if name else answer.json()
        assert [(error["response"], error["code"]) for error in item["errors"]] == [(1, "response_too_long")]
        (report,) = item["judges"]["grm"]
        assert report["responses"] == [0, 1, 2]
        assert len(report["mean"]) == 3
        assert report["refused"] == [{"response": 2, "reason": "content_free"}]


def test_the_same_refused_response_twice(api):
    """Each of them is named, where a judge sees responses one by one."""
    item = item_of(ask(api, "tool", ["Solution:", "Solution:"]))
    refused = [told for report in item["judges"]["tool"] for told in report["refused"]]
    assert [told["response"] for told in refused] == [0, 1]


def test_a_judge_that_hangs_under_each_policy(service, other):
    """The caller's time ends it; with what the other member said, where that will do."""
    other.script = lambda asked: Reply(hangs=True)
    in_time = {"headers": {"X-Request-Timeout-Ms": "1500"}}
    strict = service.post("/v1/score", body_of("strict", prompt="hung"), **in_time)
    assert (strict.status_code, strict.json()["error"]["code"]) == (504, "deadline_exceeded")
    lenient = item_of(service.post("/v1/score", body_of("lenient", prompt="hung"), **in_time))
    assert lenient["members_used"] == [["scalar"]] * 3
    assert {error["code"] for error in lenient["member_errors"]} == {"deadline_exceeded"}
    assert other.hung_up.wait(30)
    other.script = judge


def test_a_judge_in_trouble_under_each_policy(service, other):
    """Strict: its error. Degrading: the other member's score, and why it is missing."""
    other.script = lambda asked: refusal(500, "CUDA error")
    _fails(service, 500, "engine_failed", "in trouble")
    other.script = judge
    assert item_of(ask(service, "lenient", prompt="in trouble"))["members_used"] == [["scalar", "failing"]] * 3


def test_a_judge_that_is_down_under_each_policy(service, other):
    """The same, and the service says what it waits for; it is asked again once it is back."""
    other.stop()
    try:
        _fails(service, 503, "unavailable", "down")
        assert "cannot be reached" in service.get("/readyz").json()["engines"]["failing"]
    finally:
        other.start()
    until = time.monotonic() + 60
    while service.get("/readyz").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(item_of(ask(service, "strict", prompt="down"))["rewards"]) == 3


def _fails(service, status, code, prompt):
    strict = ask(service, "strict", prompt=prompt)
    assert (strict.status_code, strict.json()["error"]["code"]) == (status, code)
    lenient = item_of(ask(service, "lenient", prompt=prompt))
    assert lenient["members_used"] == [["scalar"]] * 3
    assert lenient["rewards"] == close(item_of(ask(service, "scalar", prompt=prompt))["rewards"])
    assert [(error["response"], error["member"], error["code"]) for error in lenient["member_errors"]] == [
        (index, "failing", code) for index in range(3)
    ]


def test_votes_run_side_by_side(service, model):
    """Both are at the server before either is answered."""
    go = threading.Event()
    answered = model.script

    def together(asked):
        if model.under_way == 2:
            go.set()
        reply = answered(asked)
        return Reply(reply.body, after=go)

    model.script = together
    try:
        assert item_of(ask(service, "grm", prompt="side by side"))["rewards"] == [3, 9, 6]
    finally:
        model.script = answered


def test_reports_outlive_the_process_in_redis(model, tmp_path):
    """A second service with the same Redis tells the same, and asks nothing."""
    told = []
    with redis_server(tmp_path / "redis") as redis:
        for number in range(2):
            config = {
                "scorers": {"default": scorer(model, "pairwise")},
                "cache": {"redis": {"url": redis.url}},
            }
            folder = tmp_path / f"service{number}"
            folder.mkdir()
            before = len(model.asked)
            with serving(config, folder) as service:
                told.append(item_of(ask(service, "default", prompt="redis", detail="rationale")))
            asked = len(model.asked) - before
            assert asked == (0 if number else 6)
    assert told[0] == told[1]
    assert told[0]["judges"]["default"][0]["preferences"][1][0] == close(2 / 3)


URL = {"url": "http://127.0.0.1:9"}
FAULTS = {
    "a recipe that is none": (
        {"recipe": "grmm", **URL},
        "grmm.*'grm'",
    ),
    "no recipe": (URL, "recipe"),
    "an unknown setting": ({"recipe": "grm", "vote": 3, **URL}, "vote.*did you mean.*votes"),
    "another recipe's setting": ({"recipe": "grm", "tournament": "sort", **URL}, "tournament"),
    "an argument of ours": (
        {"recipe": "grm", "vllm_args": ["--host=0.0.0.0"]},
        "--host is not yours to set",
    ),
    "an argument of ours, apart": ({"recipe": "grm", "vllm_args": ["--port", "1"]}, "--port is not yours to set"),
    "arguments for no server": ({"recipe": "grm", "vllm_args": ["--x"], **URL}, "`vllm_args` is for a server that is"),
    "a key without a url": ({"recipe": "grm", "api_key_file": "key"}, "`api_key_file` is for a server at a `url`"),
    "a key file that is none": ({"recipe": "grm", "api_key_file": "key", **URL}, "api_key_file: there is no file key"),
    "a dialect without a url": ({"recipe": "grm", "server": "sglang"}, "needs a `url`"),
    "more valid votes than votes": ({"recipe": "grm", "votes": 2, "min_valid": 3, **URL}, "`min_valid` is 3, of 2"),
    "an unknown meta": ({"recipe": "grm", "votes": 4, "meta": "skalar", **URL}, "did you mean 'scalar'|scalar"),
    "a judge as meta": ({"recipe": "grm", "votes": 4, "meta": "default", **URL}, "is no reward model"),
    "a prompt that is none": ({"recipe": "rubric", "prompt": "mine.jinja", **URL}, "prompt: there is no file"),
    "no vLLM": ({"recipe": "grm"}, r"vLLM is not installed here.*vllm_python.*url"),
    "an interpreter that is none": ({"recipe": "grm", "vllm_python": "no/python"}, "there is no program no/python"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_configuration_is_told(name, checkpoint, tmp_path, cache):
    """What is wrong, and what would be right."""
    wrong, words = FAULTS[name]
    folder = str(checkpoint("bert"))
    given = {"kind": "judge", "engine": "vllm", "model": folder, **wrong}
    config = {"scorers": {"default": given, "scalar": {"kind": "reward_model", "model": folder}}}
    with pytest.raises(NotServable) as caught:
        plan(parse(config, "guerdon.yaml"), base=tmp_path, cache=cache)
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)
