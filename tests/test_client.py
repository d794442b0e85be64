"""The client against a running service."""

import asyncio
import hashlib
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from guerdon_client import (
    AsyncClient,
    Client,
    GuerdonError,
    Refused,
    Retries,
    Unauthorized,
    UnknownModel,
)
from running import serving

README = Path(__file__).parents[1] / "clients" / "README.md"
PROMPT = "How do I bake bread?"
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "?"}]
LIMITS = {"max_inputs": 7, "max_responses": 5}


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """Two tiny models and their ensemble, behind low limits."""
    scorers = {
        name: {"kind": "reward_model", "model": str(checkpoint("qwen3", seed=seed)), "threads": 1,
               "calibration": {"mean": 0.0, "std": 1.0}}
        for seed, name in enumerate(["one", "two"])
    }  # fmt: skip
    config = {"scorers": scorers, "ensembles": {"default": {"members": ["one", "two"]}}, "limits": LIMITS}
    with serving(config, tmp_path_factory.mktemp("client")) as running:
        yield running


def inputs(count, name, responses=2):
    return [
        {"prompt": f"{PROMPT} {i}", "responses": [f"{name} {i} {j}" for j in range(responses)]} for i in range(count)
    ]


def native(service, body):
    """What the service says to a plain request."""
    return service.post("/v1/score", body).json()


def test_results_are_what_the_service_says(service):
    """Typed, and the same numbers; as a sequence and as an array they are the rewards."""
    body = {"inputs": [{"prompt": PROMPT, "responses": ["Knead it.", "No."]}], "detail": "members"}
    item = native(service, body)["data"][0]
    with Client(service.url) as client:
        result = client.score(PROMPT, ["Knead it.", "No."], detail="members")
    assert list(result) == list(result.rewards) == item["rewards"]
    assert (list(result.std), list(result.truncated)) == (item["std"], [False, False])
    assert {name: list(scores) for name, scores in result.members.items()} == item["members"]
    assert {name: list(scores) for name, scores in result.members_raw.items()} == item["members_raw"]
    assert (result[0], len(result), max(result)) == (item["rewards"][0], 2, max(item["rewards"]))
    assert np.array_equal(result.array(), item["rewards"])
    assert np.array_equal(np.asarray(result.rewards), item["rewards"])
    assert np.asarray(result).mean() == pytest.approx(np.mean(item["rewards"]))


def test_many_inputs_are_chunked_to_what_the_service_takes(service):
    """Far over its limits, in inputs and in responses of one input: all are answered in order; progress is told."""
    asked = [*inputs(23, "many"), *inputs(2, "wide", responses=13)]
    told = []
    with Client(service.url) as client:
        batch = client.score_many(asked, progress=lambda done, total: told.append((done, total)), detail="members")
    assert [len(result) for result in batch.good()] == [2] * 23 + [13] * 2
    assert batch.usage.responses == 23 * 2 + 26
    assert told[-1][0] == told[-1][1] == max(told)[0]
    assert len(told) > 4
    for at in (0, 22):
        assert list(batch[at].rewards) == native(service, {"inputs": [asked[at]]})["data"][0]["rewards"]
    last = {**asked[-1], "responses": asked[-1]["responses"][-5:]}
    assert list(batch[-1].rewards[-5:]) == native(service, {"inputs": [last]})["data"][0]["rewards"]
    assert [len(scores) for scores in batch[-1].members.values()] == [13, 13]
    assert (batch.model, batch.aggregation["method"]) == ("default", "uwo")


async def test_both_clients_say_the_same(service):
    """Scores, ranks, comparisons, cards."""
    asked = inputs(16, "both")
    with Client(service.url) as waiting:
        async with AsyncClient(service.url) as client:
            assert (await client.score_many(asked)).results == (
                await asyncio.to_thread(waiting.score_many, asked)
            ).results
            for name in ("score", "rerank", "compare"):
                for prompt in (PROMPT, TURNS):
                    theirs = await asyncio.to_thread(getattr(waiting, name), prompt, ["a", "b", "c"])
                    ours = await getattr(client, name)(prompt, ["a", "b", "c"])
                    if name == "rerank":
                        theirs, ours = theirs.results, ours.results
                    assert ours == theirs
            assert await client.cards() == waiting.cards()
            assert await client.models() == waiting.models()
            assert (await client.score_inputs(asked[:1]))["data"] == waiting.score_inputs(asked[:1])["data"]


def test_ranks_and_comparisons_are_typed(service):
    """Best first, with what was asked for; probabilities by pair."""
    with Client(service.url) as client:
        ranking = client.rerank(PROMPT, ["a", "bb", "ccc"], top_n=2, aggregation={"method": "mean"})
        compared = client.compare(PROMPT, ["a", "bb", "ccc"], pairs=[(2, 0)])
        rewards = client.score(PROMPT, ["a", "bb", "ccc"], aggregation={"method": "mean"})
        cards = {card.name: card for card in client.cards()}
    assert [ranked.index for ranked in ranking] == sorted(range(3), key=lambda i: -rewards[i])[:2]
    assert ranking[0].relevance_score == max(rewards)
    assert set(ranking[0].members) == {"one", "two"}
    assert (compared.pairs, len(compared.probability), len(compared.win_rate)) == (((2, 0),), 1, 3)
    assert compared.strength[0].agreement in (0.5, 1.0)
    assert cards["default"].members == ("one", "two")
    assert (cards["one"].kind, cards["one"].max_inputs, cards["one"].max_responses) == ("reward_model", 7, 5)


def test_a_bad_input_is_a_value_where_that_is_asked_for(service):
    """Too long, and wrong in form, among good ones: errors in their places, named as the caller knows them."""
    asked = inputs(20, "spoiled")
    asked[9] = {"prompt": PROMPT, "responses": ["fine", "word " * 600]}
    asked[17] = {"prompt": PROMPT, "respones": ["x"]}
    with Client(service.url) as client:
        batch = client.score_many(asked, errors="return")
        assert [at for at, result in enumerate(batch) if isinstance(result, GuerdonError)] == [9, 17]
        assert (batch[9].code, batch[9].field) == ("response_too_long", "inputs[9].responses[1]")
        assert (batch[17].code, isinstance(batch[17], Refused)) == ("invalid", True)
        assert "inputs[17]" in batch[17].message
        alone = client.score_many([asked[9]], errors="return")
        assert alone[0].code == "response_too_long"
        with pytest.raises(Refused, match="response_too_long") as refused:
            client.score_many(asked[:12])
        assert refused.value.field == "inputs[9].responses[1]"
        spared = client.score(PROMPT, ["fine", "word " * 600], partial=True)
        assert (spared.kept, spared.errors[0].response) == ((0,), 1)
        assert spared.by_response(2) == [spared[0], None]
        with pytest.raises(UnknownModel, match="known: "):
            client.score_many(asked, model="nobody", errors="return")


def test_the_clients_readme_runs(demonstration):
    """Each block, as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names = {}
        exec(block.replace("http://127.0.0.1:8000", demonstration.url), names)
        assert names.get("failed", []) == []


def test_any_path_is_answered_as_it_is(service):
    """Lists, numbers and objects; refusals as the class of their code, in whatever words they come."""
    with Client(service.url) as client:
        reward = client.score(PROMPT, ["r"])[0]
        assert client.call("/v1/slime/default", {"prompt": [{"role": "user", "content": PROMPT}], "response": "r"}) == (
            pytest.approx(reward)
        )
        pair = {"inputs": [PROMPT, "r"], "raw_scores": True}
        assert client.call("/predict", pair)[0]["score"] == pytest.approx(reward)
        (ranked,) = client.call("/rerank", {"query": PROMPT, "texts": ["r"], "raw_scores": True})
        assert ranked["score"] == pytest.approx(reward)
        assert len(client.call("/classify", {"text": ["a", "b"]})) == 2
        with pytest.raises(Refused) as tei:
            client.call("/rerank", {"query": PROMPT, "texts": [5]})
        assert (tei.value.code, tei.value.status) == ("invalid", 422)
        assert tei.value.field.startswith("texts")
        for path, body in (
            ("/classify", {"input": ["a"], "model": "nobody"}),
            ("/v2/models/nobody/infer", {"inputs": []}),
            ("/v1/slime/nobody", {"prompt": "p", "response": "r"}),
        ):
            with pytest.raises(GuerdonError) as refused:
                client.call(path, body)
            assert refused.value.code in ("unknown_model", "invalid"), path


def test_one_text_among_many_inputs_is_refused(service):
    """It is not taken apart to fit the service's limits."""
    with Client(service.url) as client, pytest.raises(Refused, match="responses"):
        client.score_many([{"prompt": PROMPT, "responses": "longer than five letters"}])


def test_nothing_asked_is_nothing_answered(service):
    """An empty batch needs no service's word."""
    with Client(service.url) as client:
        assert list(client.score_many([])) == []


async def test_a_call_that_is_retried_after_a_timeout_is_computed_once(service):
    """The model stands still while the client asks three times. When it goes on, one computation answers them all."""
    body = [{"prompt": PROMPT, "responses": ["asked more than once"]}]
    children = service.child_pids()
    before, joined = service.metric("guerdon_tokens_total"), coalesced(service)
    with Client(service.url, retries=Retries(attempt_s=0.2)) as client:
        signalled(children, signal.SIGSTOP)
        try:
            asking = asyncio.create_task(asyncio.to_thread(client.score_inputs, body, model="one"))
            async with asyncio.timeout(8):
                while await asyncio.to_thread(coalesced, service) < joined + 2:
                    await asyncio.sleep(0.05)
        finally:
            signalled(children, signal.SIGCONT)
        answer = await asking
    assert service.metric("guerdon_tokens_total") - before == answer["usage"]["tokens"]


async def test_a_trainer_that_hangs_up_and_asks_again_is_computed_for_once(service):
    """Trainers close the connection when their time runs out. What the model had begun is theirs at the next try."""
    body = {"model": "one", "inputs": [{"prompt": PROMPT, "responses": ["asked again over a new connection"]}]}
    children = service.child_pids()
    before, gone = service.metric("guerdon_tokens_total"), service.metric("guerdon_requests_total", code="499")
    signalled(children, signal.SIGSTOP)
    try:
        for attempt in range(1, 3):
            with pytest.raises(httpx.ReadTimeout):
                await asyncio.to_thread(httpx.post, f"{service.url}/v1/score", json=body, timeout=0.5)
            async with asyncio.timeout(8):
                while service.metric("guerdon_requests_total", code="499") < gone + attempt:
                    await asyncio.sleep(0.05)
    finally:
        signalled(children, signal.SIGCONT)
    answer = await asyncio.to_thread(service.post, "/v1/score", body)
    assert service.metric("guerdon_tokens_total") - before == answer.json()["usage"]["tokens"]


def coalesced(service):
    """Responses that were waited for, because another request was having them computed."""
    return service.metric("guerdon_cache_requests_total", result="coalesced")


def signalled(pids, number):
    for pid in pids:
        os.kill(pid, number)


def test_a_key_is_shown(checkpoint, tmp_path):
    """Without one, or with another, the service refuses by its own code."""
    key = "the right one"
    (tmp_path / "key").write_text(hashlib.sha256(key.encode()).hexdigest())
    config = {
        "scorers": {"default": {"kind": "reward_model", "model": str(checkpoint("qwen3"))}},
        "keys": {"us": {"sha256_file": "key"}},
    }
    with serving(config, tmp_path) as service:
        with Client(service.url, api_key=key) as client:
            assert len(client.score(PROMPT, ["r"])) == 1
        for wrong in (None, "another"):
            with Client(service.url, api_key=wrong) as client, pytest.raises(Unauthorized):
                client.score(PROMPT, ["r"])


def test_a_restart_is_waited_out(checkpoint, tmp_path):
    """The service goes, and comes back at the same address: the call that fell between gets its answer."""
    config = {"scorers": {"default": {"kind": "reward_model", "model": str(checkpoint("qwen3"))}}}
    with serving(config, tmp_path) as first:
        port = int(first.url.rsplit(":", 1)[1])
        with Client(first.url, retries=Retries(attempts=1000, longest_s=1)) as client, ThreadPoolExecutor(1) as pool:
            before = client.score(PROMPT, ["r"])
            first.process.terminate()
            first.process.wait(40)
            asking = pool.submit(client.score, PROMPT, ["r"])
            with serving(config, tmp_path, port=port):
                assert asking.result(60) == before
