"""The running service over HTTP, with learned-model-shaped checkpoints in worker processes."""

import asyncio
import json
import os
import random
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import pytest

from guerdon.domain.samples import assistant, user
from guerdon.engines.tokenizer import ModelTokenizer
from oracle import reference_reward
from running import serving

PROMPTS = [f"Question number {i}: how do I bake bread?" for i in range(8)]


def config(checkpoint):
    model = str(checkpoint("qwen3"))
    return {
        "scorers": {
            "one": {"kind": "reward_model", "model": model, "calibration": {"mean": 0.5, "std": 2.0}},
            "two": {
                "kind": "reward_model",
                "model": str(checkpoint("bert", seed=1)),
                "calibration": {"mean": -1.0, "std": 0.5},
            },
            "labels": {
                "kind": "reward_model",
                "model": str(checkpoint("bert", seed=2, num_labels=3)),
                "max_tokens": 40,
            },
        },
        "ensembles": {"default": {"members": ["one", "two"]}},
        "limits": {"max_body": "64KiB", "max_inputs": 20, "max_responses": 10, "body_timeout_s": 2},
    }


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """One service for the module."""
    with serving(config(checkpoint), tmp_path_factory.mktemp("service"), grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def expected(checkpoint):
    """The reference reward of scorer ``one``, by prompt and response."""
    tokenizer = ModelTokenizer(checkpoint("qwen3"), max_tokens=None)
    return lambda prompt, response: reference_reward(
        checkpoint("qwen3"), tokenizer.conversation(user(prompt), assistant(response)).ids
    )[0]


def score(response, **more):
    return {"model": "one", "inputs": [{"prompt": PROMPTS[0], "responses": [response]}], **more}


def close(value):
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def test_rewards_are_the_references(api, expected):
    """Many inputs in one request: each response gets its own reference reward, and usage is counted."""
    rng = random.Random(1)
    inputs = [{"prompt": p, "responses": ["yes " * rng.randint(0, 40) for _ in range(4)]} for p in PROMPTS]
    answer = api.post("/v1/score", {"model": "one", "inputs": inputs}).json()
    for given, item in zip(inputs, answer["data"], strict=True):
        assert item["rewards"] == close([expected(given["prompt"], r) for r in given["responses"]])
        assert item["truncated"] == [False] * 4
    assert answer["usage"]["responses"] == 32
    assert "aggregation" not in answer


def test_an_ensemble_is_the_aggregate_of_its_calibrated_members(api):
    """Members are z-scored by their stored calibration; mean, wco and uwo follow from them, per request."""
    body = {"inputs": [{"prompt": PROMPTS[1], "responses": ["a", "bb", ""]}], "detail": "members"}
    default = api.post("/v1/score", body).json()
    item = default["data"][0]
    for i in range(3):
        one = (item["members_raw"]["one"][i] - 0.5) / 2.0
        two = (item["members_raw"]["two"][i] + 1.0) / 0.5
        assert [item["members"]["one"][i], item["members"]["two"][i]] == close([one, two])
        mean, var = (one + two) / 2, ((one - two) / 2) ** 2
        assert item["rewards"][i] == close(mean - 0.5 * var)
        assert item["std"][i] == close(var**0.5)
    assert default["aggregation"] == {"method": "uwo", "coefficient": 0.5, "ddof": 0}
    for how, of in ((("wco",), min), (("mean",), lambda z: sum(z) / 2)):
        other = api.post("/v1/score", {**body, "aggregation": {"method": how[0]}}).json()
        pairs = zip(item["members"]["one"], item["members"]["two"], strict=True)
        assert other["data"][0]["rewards"] == close([of(pair) for pair in pairs])
        assert other["usage"]["cached"] == 3
    ddof = api.post("/v1/score", {**body, "aggregation": {"method": "uwo", "coefficient": 2, "ddof": 1}}).json()
    assert ddof["aggregation"] == {"method": "uwo", "coefficient": 2.0, "ddof": 1}
    assert ddof["data"][0]["std"] == close([value * 2**0.5 for value in item["std"]])


def test_reranking_sorts_by_reward(api, expected):
    """Best first, with index, score, spread and document; ties keep their order; top_n cuts."""
    responses = ["a", "long " * 20, "", "a"]
    body = {"model": "one", "query": PROMPTS[2], "documents": responses, "return_documents": True}
    results = api.post("/v1/rerank", body).json()["results"]
    rewards = [expected(PROMPTS[2], r) for r in responses]
    assert [r["index"] for r in results] == sorted(range(4), key=lambda i: (-round(rewards[i], 4), i))
    assert [r["relevance_score"] for r in results] == close([rewards[r["index"]] for r in results])
    assert [r["document"]["text"] for r in results] == [responses[r["index"]] for r in results]
    top = api.post("/v1/rerank", {**body, "top_n": 1, "activation": "sigmoid"}).json()["results"]
    assert [r["index"] for r in top] == [results[0]["index"]]
    assert 0 < top[0]["relevance_score"] < 1
    assert "std" in api.post("/v1/rerank", {**body, "model": "default"}).json()["results"][0]


def test_a_prompt_and_its_message_are_one_sample(api):
    """The same content in another shape is the same score, from the cache."""
    first = api.post("/v1/score", score("same content")).json()
    messages = [{"role": "user", "content": [{"type": "text", "text": PROMPTS[0]}]}]
    turns = [{"role": "assistant", "content": "same content"}]
    again = api.post(
        "/v1/score", {"model": "one", "inputs": [{"messages": messages, "responses": [turns], "metadata": {"a": 1}}]}
    ).json()
    assert again["data"] == first["data"]
    assert again["usage"] == {**first["usage"], "cached": 1, "tokens_computed": 0}


def test_one_head_of_a_model_with_many_can_be_named(api):
    """Each label is a model; the bare name, which would be ambiguous, is not."""
    names = {model["id"] for model in api.get("/v1/models").json()["data"]}
    assert {"default", "one", "two", "labels.LABEL_0", "labels.LABEL_1", "labels.LABEL_2"} == names
    rewards = [
        api.post("/v1/score", score("x", model=f"labels.LABEL_{i}")).json()["data"][0]["rewards"][0] for i in range(3)
    ]
    assert len(set(rewards)) == 3


def test_a_faulty_response_spoils_its_own_input_only(api):
    """One input too long among good ones: its error names the response, the others are rewarded."""
    inputs = [
        {"prompt": "a", "responses": ["b", "c"]},
        {"prompt": "a", "responses": ["b", "word " * 80, "c"]},
    ]
    answer = api.post("/v1/score", {"model": "labels.LABEL_0", "inputs": inputs})
    assert answer.status_code == 200
    good, bad = answer.json()["data"]
    assert len(good["rewards"]) == 2
    assert bad["error"]["code"] == "response_too_long"
    assert bad["error"]["field"] == "inputs[1].responses[1]"
    assert "at most 40" in bad["error"]["message"]
    partial = api.post("/v1/score", {"model": "labels.LABEL_0", "inputs": inputs, "partial": True}).json()["data"][1]
    assert partial["kept"] == [0, 2]
    assert len(partial["rewards"]) == 2
    assert [error["response"] for error in partial["errors"]] == [1]


def test_timings_and_the_request_id_come_back(api):
    """Where the time went, by stage, in Server-Timing; the caller's id is echoed."""
    answer = api.post("/v1/score", score(f"timed {time.time()}"), headers={"X-Request-Id": "abc-1"})
    assert answer.headers["x-request-id"] == answer.json()["id"] == "abc-1"
    for stage in ("parse", "cache", "tokenize", "queue", "forward", "aggregate"):
        assert f"{stage};dur=" in answer.headers["server-timing"]


def test_a_deadline_that_has_passed_costs_no_work(service):
    """504, and neither tokenizer nor model was asked."""
    before = service.metric("guerdon_tokens_total")
    answer = service.post("/v1/score", score("late"), headers={"X-Request-Timeout-Ms": "0"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert "tokenize" not in answer.headers.get("server-timing", "")
    assert service.metric("guerdon_tokens_total") == before


def test_the_api_documents_itself(service):
    """OpenAPI names the bodies and every status that can come."""
    document = service.get("/openapi.json").json()
    route = document["paths"]["/v1/score"]["post"]
    schema = route["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]["$ref"].rsplit("/", 1)[1]
    assert set(document["components"]["schemas"][schema]["properties"]) >= {"model", "inputs", "aggregation", "detail"}
    assert {"200", "400", "404", "413", "422", "503", "504"} <= set(route["responses"])
    assert service.get("/docs").status_code == 200


def test_the_documentation_needs_no_internet(service):
    """The page's script, style and picture come from the service; every reference of its document leads somewhere."""
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        assert asset.startswith("/docs/assets/")
        assert service.get(asset).status_code == 200
    assert "http" not in page.text.replace("httpSnippet", "")
    document = service.get("/openapi.json").json()
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references >= {"ScoreRequest", "RerankRequest", "CompareRequest"}
    assert references <= document["components"]["schemas"].keys()


def test_the_gateway_process_loads_no_torch(service):
    """Every scorer is in a child, so the process that answers maps neither torch's libraries nor transformers."""
    assert "torch" not in Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "torch" in Path(f"/proc/{service.child_pids()[0]}/maps").read_text()


@dataclass
class Answer:
    status: int
    text: str

    @property
    def rewards(self):
        return json.loads(self.text)["data"][0]["rewards"]


async def ask_many(service, bodies, concurrency):
    """Answers to all bodies, so many in flight, over as many connections: as trainers call."""
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(service.url, connector=connector) as client:

        async def ask(body):
            async with client.post("/v1/score", json=body) as answer:
                return Answer(answer.status, await answer.text())

        return await asyncio.gather(*(ask(body) for body in bodies))


@pytest.mark.parametrize("delay_s", [0.02, 0.1, 0.2])
async def test_a_killed_worker_costs_no_request(delay_s, service, expected):
    """SIGKILL while two hundred requests are in flight, early or late: two hundred right answers."""
    pairs = [(PROMPTS[i % 8], f"killed {delay_s} {i} " + "word " * (i % 30)) for i in range(200)]
    bodies = [{"model": "one", "inputs": [{"prompt": p, "responses": [r]}]} for p, r in pairs]
    deaths = service.metric("guerdon_worker_ends_total", reason="died")
    asking = asyncio.create_task(ask_many(service, bodies, 200))
    await asyncio.sleep(delay_s)
    assert not asking.done()
    for pid in service.child_pids():
        os.kill(pid, signal.SIGKILL)
    answers = await asking
    assert [answer.status for answer in answers] == [200] * 200
    for (prompt, response), answer in zip(pairs, answers, strict=True):
        assert answer.rewards == close([expected(prompt, response)])
    assert service.metric("guerdon_worker_ends_total", reason="died") >= deaths + 1


async def test_a_thousand_single_requests_are_all_right(service, expected, capsys):
    """A thousand requests of one sample each, 64 in flight: every reward is its own, none is another's."""
    pairs = [(PROMPTS[i % 8], f"single {i} " + "word " * (i % 40)) for i in range(1000)]
    bodies = [{"model": "one", "inputs": [{"prompt": p, "responses": [r]}]} for p, r in pairs]
    started = time.perf_counter()
    answers = await ask_many(service, bodies, 64)
    seconds = time.perf_counter() - started
    wrong = [
        answer.text
        for (prompt, response), answer in zip(pairs, answers, strict=True)
        if answer.rewards != close([expected(prompt, response)])
    ]
    assert not wrong
    resident = {pid: resident_mib(pid) for pid in (service.process.pid, *service.child_pids())}
    with capsys.disabled():
        gateway, *workers = resident.values()
        print(
            f"\n1,000 single-sample requests at concurrency 64: {1000 / seconds:.0f} requests/s; "
            f"memory: gateway {gateway} MiB, workers {', '.join(f'{worker} MiB' for worker in workers)}"
        )


def resident_mib(pid):
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS"))


async def test_five_hundred_equal_requests_are_one_forward_pass(service):
    """Single-flight: what is under way is waited for, not computed again."""
    before = service.metric("guerdon_tokens_total", engine="one")
    answers = await ask_many(service, [score("all the same, please")] * 500, 100)
    assert len({answer.text.split('"data"')[1].split('"usage"')[0] for answer in answers}) == 1
    once = json.loads(answers[0].text)["usage"]["tokens"]
    assert service.metric("guerdon_tokens_total", engine="one") == before + once


async def test_a_caller_that_hangs_up_is_forgotten(service):
    """Its request is counted as 499, its work is dropped, and the next caller is served."""
    before = service.metric("guerdon_requests_total", code="499")
    body = {
        "model": "one",
        "inputs": [{"prompt": p, "responses": [f"{p} gone {i}" for i in range(10)]} for p in PROMPTS],
    }
    async with httpx.AsyncClient(base_url=service.url) as client:
        for _ in range(20):
            asking = asyncio.create_task(client.post("/v1/score", json=body))
            await asyncio.sleep(0.02)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            body["inputs"][0]["prompt"] += "?"
    async with asyncio.timeout(10):
        while service.metric("guerdon_requests_total", code="499") == before:
            await asyncio.sleep(0.05)
    assert service.post("/v1/score", score("still here")).status_code == 200
    async with asyncio.timeout(10):
        while service.metric("guerdon_queue_items") > 0:
            await asyncio.sleep(0.05)
