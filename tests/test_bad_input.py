"""Bad requests, each with its status, code and message; and a good request right after."""

import asyncio
import gzip
import socket
import time

import httpx
import pytest

from over_grpc import expressible
from running import serving

GOOD = {"model": "one", "inputs": [{"prompt": "Hi", "responses": ["Hello."]}]}
BIG = "x" * 3000


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """A small service, its engine in the same process."""
    one = {
        "kind": "reward_model",
        "model": str(checkpoint("bert")),
        "placement": "inline",
        "max_tokens": 50,
        "calibration": {"mean": 0, "std": 1},
    }
    config = {
        "scorers": {"one": one, "two": {**one, "model": str(checkpoint("bert", seed=3))}},
        "ensembles": {"default": {"members": ["one", "two"]}},
        "limits": {"max_body": "64KiB", "max_inputs": 20, "max_responses": 10, "body_timeout_s": 1},
    }
    with serving(config, tmp_path_factory.mktemp("bad"), grpc=True) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serves(service):
    """After every fault, a good request is answered."""
    yield
    assert service.post("/v1/score", GOOD).status_code == 200


def with_input(**fields):
    return {"model": "one", "inputs": [{"prompt": "Hi", "responses": ["Hello."], **fields}]}


def without(key):
    one = {"prompt": "Hi", "responses": ["Hello."]}
    del one[key]
    return {"model": "one", "inputs": [one]}


REFUSED = {
    "unknown model": ({**GOOD, "model": "on"}, 404, "unknown_model", "model", "known: default, one, two"),
    "unknown field": ({**GOOD, "inptus": 1}, 422, "invalid", "inptus", "did you mean `inputs`?"),
    "unknown field of an input": (
        with_input(respones=1),
        422,
        "invalid",
        "inputs[0].respones",
        "did you mean `responses`",
    ),
    "no inputs": ({"model": "one"}, 422, "invalid", "inputs", "required"),
    "empty inputs": ({"model": "one", "inputs": []}, 422, "invalid", "inputs", "at least 1"),
    "empty responses": (with_input(responses=[]), 422, "invalid", "inputs[0].responses", "at least 1"),
    "no prompt": (without("prompt"), 422, "invalid", "inputs[0]", "either `prompt` or `messages`"),
    "prompt and messages": (
        with_input(messages=[{"role": "user", "content": "x"}]),
        422,
        "invalid",
        "inputs[0]",
        "either",
    ),
    "empty messages": (
        {"model": "one", "inputs": [{"messages": [], "responses": ["a"]}]},
        422,
        "invalid",
        "inputs[0].messages",
        "at least 1",
    ),
    "unknown role": (
        {"model": "one", "inputs": [{"messages": [{"role": "robot", "content": "x"}], "responses": ["a"]}]},
        422,
        "invalid",
        "inputs[0].messages[0].role",
        "'system'",
    ),
    "null response": (with_input(responses=[None]), 422, "invalid", "inputs[0].responses[0]", "string"),
    "number as response": (with_input(responses=[7]), 422, "invalid", "inputs[0].responses[0]", "string"),
    "inputs of the wrong type": ({"model": "one", "inputs": "Hi"}, 422, "invalid", "inputs", "list"),
    "a list as body": ([1, 2], 422, "invalid", "body", "a JSON object is needed"),
    "unusable reference": (with_input(reference="gold"), 422, "unusable_field", "inputs[0].reference", "no use"),
    "unusable principle": (with_input(principle="be kind"), 422, "unusable_field", "inputs[0].principle", "no use"),
    "aggregation of a single scorer": (
        {**GOOD, "aggregation": {"method": "wco"}},
        422,
        "unusable_field",
        "aggregation",
        "single scorer",
    ),
    "unknown aggregation": (
        {**GOOD, "model": "default", "aggregation": {"method": "avg"}},
        422,
        "invalid",
        "aggregation.method",
        "'mean'",
    ),
    "negative coefficient": (
        {**GOOD, "model": "default", "aggregation": {"coefficient": -1}},
        422,
        "invalid",
        "aggregation.coefficient",
        "greater than or equal to 0",
    ),
    "ddof true": (
        {**GOOD, "model": "default", "aggregation": {"ddof": True}},
        422,
        "invalid",
        "aggregation.ddof",
        "a number is needed",
    ),
    "ddof 2": ({**GOOD, "model": "default", "aggregation": {"ddof": 2}}, 422, "invalid", "aggregation.ddof", "0 or 1"),
    "too long": (
        with_input(responses=["word " * 80]),
        422,
        "response_too_long",
        "inputs[0].responses[0]",
        "at most 50",
    ),
    "too many inputs": (
        {"model": "one", "inputs": GOOD["inputs"] * 21},
        413,
        "too_large",
        "inputs",
        "at most 20 (limits.max_inputs)",
    ),
    "too many responses": (
        with_input(responses=["a"] * 11),
        413,
        "too_large",
        "inputs[0].responses",
        "at most 10 (limits.max_responses)",
    ),
    "unknown detail": ({**GOOD, "detail": "all"}, 422, "invalid", "detail", "'steps' or 'rationale'"),
}


def over_both(path, cases):
    """Each case over HTTP, and over gRPC if it can be said there."""
    return [("http", case) for case in cases] + [("grpc", case) for case in cases if expressible(path, cases[case][0])]


@pytest.mark.parametrize(("api", "case"), over_both("/v1/score", REFUSED), indirect=["api"])
def test_a_faulty_request_is_refused_by_name(api, case):
    """Status, code, the field at fault, and what would be right."""
    body, status, code, field, words = REFUSED[case]
    answer = api.post("/v1/score", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (status, code, field)
    assert words in error["message"]
    assert len(answer.content) < 4096


RERANKS = {
    "no query": ({"documents": ["a"]}, "either `query` or `messages`"),
    "no documents": ({"query": "a"}, "either `documents` or `responses`"),
    "empty documents": ({"query": "a", "documents": []}, "at least 1"),
    "top_n below zero": ({"query": "a", "documents": ["b"], "top_n": -1}, "greater than or equal to 0"),
    "unknown activation": ({"query": "a", "documents": ["b"], "activation": "softmax"}, "'sigmoid'"),
    "a typo": ({"query": "a", "document": ["b"]}, "did you mean `documents`?"),
}


@pytest.mark.parametrize(("api", "case"), over_both("/v1/rerank", RERANKS), indirect=["api"])
def test_a_faulty_rerank_is_refused_by_name(api, case):
    """The same strictness at the other endpoint."""
    body, words = RERANKS[case]
    answer = api.post("/v1/rerank", {"model": "one", **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert words in answer.json()["error"]["message"]


def test_a_response_that_is_too_long_fails_a_rerank_by_its_place(api):
    """Unless the request is partial: then the others are ranked and it is listed."""
    body = {"model": "one", "query": "Hi", "responses": ["a", "word " * 80, "b"]}
    refused = api.post("/v1/rerank", body)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "responses[1]")
    partial = api.post("/v1/rerank", {**body, "partial": True}).json()
    assert sorted(result["index"] for result in partial["results"]) == [0, 2]
    assert [(e["response"], e["code"]) for e in partial["errors"]] == [(1, "response_too_long")]


RAW = {
    "not JSON": (b'{"model": ', 400, "malformed"),
    "nothing": (b"", 400, "malformed"),
    "invalid UTF-8": (b'{"model": "\xff\xfe"}', 400, "malformed"),
    "lone surrogate": (b'{"model": "one", "inputs": [{"prompt": "\\ud800", "responses": ["a"]}]}', 400, "malformed"),
    "NaN": (
        b'{"model": "default", "inputs": [{"prompt": "a", "responses": ["a"]}], "aggregation": {"coefficient": NaN}}',
        400,
        "malformed",
    ),
    "Infinity": (b'{"model": "default", "inputs": [], "aggregation": {"coefficient": Infinity}}', 400, "malformed"),
    "a number beyond floats": (
        b'{"model": "default", "inputs": [{"prompt": "a", "responses": ["a"]}], "aggregation": {"coefficient": 1e999}}',
        (400, 422),
        ("malformed", "invalid"),
    ),
    "6,000 digits": (b'{"model": "one", "inputs": [' + b"9" * 6000 + b"]}", (400, 422), ("malformed", "invalid")),
    "nested 5,000 deep": (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "malformed"),
    "nested 30,000 deep": (b"[" * 30000 + b"]" * 30000, 400, "malformed"),
}


@pytest.mark.parametrize("case", RAW)
def test_a_body_that_is_not_our_json_is_refused(case, service):
    """Nothing that cannot be scored gets past the parser, and nothing crashes on it."""
    body, status, code = RAW[case]
    answer = httpx.post(service.url + "/v1/score", content=body, headers={"Content-Type": "application/json"})
    statuses = status if isinstance(status, tuple) else (status,)
    codes = code if isinstance(code, tuple) else (code,)
    assert answer.status_code in statuses
    assert answer.json()["error"]["code"] in codes


def test_a_nested_value_of_the_wrong_kind_is_refused(service):
    """A hundred levels are valid JSON, but no response."""
    deep = "x"
    for _ in range(100):
        deep = [deep]
    answer = service.post("/v1/score", with_input(responses=deep))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_input_is_never_echoed(service):
    """A large wrong value does not come back, nor does a long unknown key in full."""
    for body in (
        with_input(responses={"secret": BIG}),
        {**GOOD, BIG: 1},
        {**GOOD, "model": BIG},
        with_input(reference=BIG),
    ):
        answer = service.post("/v1/score", body)
        assert 400 <= answer.status_code < 500
        assert "x" * 200 not in answer.text
        assert "secret" not in answer.text


def test_the_body_limit_is_exact(service):
    """At the limit it is read, one byte over it is 413, whether the length is declared or not."""
    frame = b'{"model": "one", "inputs": [{"prompt": "a", "responses": ["b"], "metadata": {"pad": "%s"}}]}'
    room = 64 * 1024 - len(frame) + 2
    headers = {"Content-Type": "application/json"}
    at_limit, over = (frame % (b"x" * n) for n in (room, room + 1))
    assert len(at_limit) == 64 * 1024
    assert httpx.post(service.url + "/v1/score", content=at_limit, headers=headers).status_code == 200
    for content in (over, iter([over[:1000], over[1000:]])):
        answer = httpx.post(service.url + "/v1/score", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "65536 bytes (limits.max_body)" in answer.json()["error"]["message"]


def test_other_content_is_refused(service):
    """Compressed bodies and other media types are 415, and say so."""
    packed = httpx.post(
        service.url + "/v1/score",
        content=gzip.compress(b"{}"),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    form = httpx.post(service.url + "/v1/score", data={"model": "one"})
    for answer, field in ((packed, "Content-Encoding"), (form, "Content-Type")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media")
        assert answer.json()["error"]["field"] == field


def test_paths_and_methods_that_are_not_served(service):
    """404 and 405 in the same shape as every other error."""
    nowhere = service.post("/v1/nothing", {})
    wrong = service.get("/v1/score")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "unknown_route")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "wrong_method")


def test_a_timeout_header_that_is_no_number_is_refused(service):
    """It names the header."""
    answer = service.post("/v1/score", GOOD, headers={"X-Request-Timeout-Ms": "soon"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "X-Request-Timeout-Ms")


def test_a_body_full_of_faults_is_refused_at_the_first(service):
    """Twenty thousand wrong responses are one error, not twenty thousand."""
    answer = service.post("/v1/score", with_input(responses=[1] * 20_000))
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "inputs[0].responses[0]")


def test_a_timeout_beyond_numbers_is_refused(service):
    """A header of four hundred digits is an error of the caller's, not of the server's."""
    answer = service.post("/v1/score", GOOD, headers={"X-Request-Timeout-Ms": "1" + "0" * 400})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_a_stalled_body_is_given_up(service):
    """Half a body, then silence: answered 408 after the configured second."""
    host, port = service.url.removeprefix("http://").split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        assert b" 408 " in client.recv(4096)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "response", ["", " ", "\n\n", "\u202e right to left", "e\u0301\u0327" * 5, "🙂", "\x00 nul", "x" * 400]
)
def test_odd_but_scorable_text_gets_a_finite_reward(response, api):
    """Blank responses are scored like any other; so is every text that is text."""
    answer = api.post("/v1/score", with_input(responses=[response]))
    assert answer.status_code == 200
    assert len(answer.json()["data"][0]["rewards"]) == 1


def test_unknown_models_and_paths_make_no_new_series(api, service):
    """Names that callers invent are not labels."""
    for i in range(20):
        api.post("/v1/score", {**GOOD, "model": f"invented-{i}"})
        service.get(f"/invented/{i}")
    assert "invented" not in service.get("/metrics").text


async def test_faults_do_not_touch_their_neighbours(service):
    """Good and bad requests at once: every good one is answered."""
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        bodies = [GOOD if i % 2 else REFUSED[list(REFUSED)[i % len(REFUSED)]][0] for i in range(60)]
        answers = await asyncio.gather(*(client.post("/v1/score", json=body) for body in bodies))
    assert all(answer.status_code == 200 for answer, body in zip(answers, bodies, strict=True) if body is GOOD)
