"""The adapters, called as the trainers' own sources call them, against the running demonstration service."""

import asyncio
import inspect
import math
import subprocess
import sys
from functools import partial
from itertools import pairwise
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon_client import Busy, Client, GuerdonError, Refused, Retries, openrlhf, trl, verl
from guerdon_client.environment import Place, place
from guerdon_client.groups import disagreement, grouped, rows
from guerdon_client.ms_swift import orm
from guerdon_client.results import ScoreResult
from guerdon_client.shared import asynchronous
from guerdon_client.slime import custom_rm
from scripted_server import Answer, scripted

EGG = "How do I boil an egg?"
GOOD, BAD = "Put it in boiling water for eight minutes, then cool it under the tap.", "Eggs are eggs."
PROMPTS = [EGG, EGG, "What is the capital of France?", EGG]
RESPONSES = [GOOD, BAD, "The capital of France is Paris.", GOOD]
MEMBERS = {f"heads.{letter}" for letter in "abcde"}


def asked(text):
    return [{"role": "user", "content": text}]


def answered(text):
    return [{"role": "assistant", "content": text}]


@pytest.fixture(autouse=True)
async def closed(demonstration):
    """What adapters keep open for a training run is closed after each test, on the test's own loop."""
    yield
    await asynchronous(Place(demonstration.url, "default")).close()


@pytest.fixture(scope="module")
def expected(demonstration):
    """Each sample's reward, asked for alone."""
    with Client(demonstration.url) as client:
        return [client.score(p, [r])[0] for p, r in zip(PROMPTS, RESPONSES, strict=True)]


def close(values):
    return pytest.approx(values, rel=1e-5, abs=1e-5)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3), st.sampled_from(["x", "y"])), max_size=20))
def test_samples_are_grouped_and_given_back_in_order(samples):
    """Consecutive samples of one prompt are one input; each row is its own sample's again."""
    prompts, responses, references = ([sample[i] for sample in samples] for i in range(3))
    inputs = grouped(prompts, responses, {"reference": references})
    assert [(g["prompt"], r, g["reference"]) for g in inputs for r in g["responses"]] == samples
    for left, right in pairwise(inputs):
        assert (left["prompt"], left["reference"]) != (right["prompt"], right["reference"])
    results = [ScoreResult(rewards=tuple(float(len(r)) for r in g["responses"])) for g in inputs]
    assert rows(inputs, results) == [float(len(response)) for response in responses]


def test_what_failed_is_none_in_every_column():
    """A failed input, and a failed response of another: their rows are None, their neighbours' are not."""
    inputs = grouped(["p", "p", "q"], ["a", "b", "c"])
    kept = ScoreResult(rewards=(1.0,), std=(0.1,), members={"m": (2.0,)}, kept=(1,))
    results = [kept, GuerdonError("non_finite", "")]
    assert rows(inputs, results) == [None, 1.0, None]
    assert disagreement(inputs, results) == {"m": [None, 2.0, None], "std": [None, 0.1, None]}


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("conversational", [False, True])
def test_trl(demonstration, expected, sync, conversational):
    """As `_calculate_rewards` calls it: one float a completion, the members in the trainer's log."""
    reward = trl.reward_func(demonstration.url, name="helpful", sync=sync)
    assert (reward.__name__, inspect.iscoroutinefunction(reward)) == ("helpful", not sync)
    extra, metrics = {}, {}
    columns = {
        "prompts": [asked(p) for p in PROMPTS] if conversational else PROMPTS,
        "completions": [answered(r) for r in RESPONSES] if conversational else RESPONSES,
        "completion_ids": [[1]] * 4, "solution": ["x"] * 4, "trainer_state": SimpleNamespace(global_step=3),
        "log_extra": extra.__setitem__, "log_metric": metrics.__setitem__,
    }  # fmt: skip
    rewards = reward(**columns) if sync else asyncio.run(_awaited(reward, columns))
    assert rewards == close(expected)
    assert set(extra) == {f"helpful/{name}" for name in MEMBERS | {"std"}} == set(metrics)
    assert [len(values) for values in extra.values()] == [4] * 6
    assert metrics["helpful/std"] == pytest.approx(sum(extra["helpful/std"]) / 4)


async def _awaited(function, columns):
    return await function(**columns)


def test_trl_a_completion_that_fails_ends_the_run_or_is_left_out(demonstration):
    """As the caller chooses; the others' rewards stand. Fewer arguments, as AsyncGRPO and online DPO give, will do."""
    completions = [GOOD, "word " * 100_000, BAD]
    strict = trl.reward_func(demonstration.url, sync=True)
    with pytest.raises(GuerdonError):
        strict(prompts=[EGG] * 3, completions=completions)
    spared = trl.reward_func(demonstration.url, sync=True, on_error="none")
    first, failed, last = spared(prompts=[EGG] * 3, completions=completions)
    assert (failed, first > last) == (None, True)
    assert strict(prompts=[], completions=[]) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"on_error": "None"}, "did you mean 'none'"),
        ({"timout_s": 3}, "did you mean 'timeout_s'"),
        ({"columns": {"refrence": "solution"}}, "did you mean 'reference'"),
        ({"columns": {"reference": 3}}, "name of a column"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"retries": 5}, "Retries"),
    ],
)
def test_trl_arguments_are_checked_when_the_function_is_made(arguments, said):
    """Not at the first step, when the models are loaded."""
    with pytest.raises((TypeError, ValueError), match=said):
        trl.reward_func("http://127.0.0.1:9", **arguments)


def test_trl_a_column_that_is_not_there_is_named():
    """With those that are."""
    reward = trl.reward_func("http://127.0.0.1:9", sync=True, columns={"reference": "answer"})
    with pytest.raises(Refused, match=r"no column 'answer'; there are: solution$"):
        reward(prompts=[EGG], completions=[GOOD], solution=["x"], completion_ids=[[1]], log_extra=print)


def test_trl_columns_of_the_dataset_become_fields(demonstration):
    """A model that has no use for a reference says so; none is sent unasked."""
    reward = trl.reward_func(demonstration.url, sync=True, columns={"reference": "solution"})
    with pytest.raises(Refused, match="unusable_field"):
        reward(prompts=[EGG], completions=[GOOD], solution=["eight minutes"])


async def test_verl(demonstration, expected):
    """As its reward managers call a function that `reward_kwargs` have been bound to; every value is a number."""
    function = partial(_with_reward_kwargs, verl.compute_score, {"url": demonstration.url, "model": "default"})
    assert inspect.iscoroutinefunction(function)
    calls = [
        {
            "data_source": "any", "solution_str": response, "ground_truth": "gold",
            "extra_info": {"question": prompt, "index": 0, "num_turns": None, "rollout_reward_scores": {}},
            "reward_router_address": "nobody:1", "reward_model_tokenizer": None,
        }
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]  # fmt: skip
    results = await asyncio.gather(*(function(**call) for call in calls))
    assert [result["score"] for result in results] == close(expected)
    assert {frozenset(result) for result in results} == {frozenset(MEMBERS | {"score", "std"})}
    assert all(isinstance(value, float) and math.isfinite(value) for result in results for value in result.values())
    blocking = await asyncio.to_thread(verl.compute_score_blocking, **calls[0], url=demonstration.url)
    assert blocking == results[0]


async def _with_reward_kwargs(raw, extra, *args, **kwargs):
    return await raw(*args, **{**kwargs, **extra})


async def test_verl_finds_the_prompt_or_says_where_it_looked(demonstration, monkeypatch):
    """Under a key that is named, as messages too; the service from the environment."""
    monkeypatch.setenv("GUERDON_URL", demonstration.url)
    as_text = await verl.compute_score("any", GOOD, None, {"question": EGG})
    as_turns = await verl.compute_score("any", GOOD, None, {"turns": asked(EGG)}, prompt_key="turns")
    assert as_turns == as_text
    from_parquet = {"prompt": None, "messages": np.array(asked(EGG), dtype=object)}
    assert await verl.compute_score("any", GOOD, None, from_parquet) == as_text
    weights = MappingProxyType({name: float(name == "heads.a") for name in MEMBERS})  # as OmegaConf's are no dicts
    chosen = MappingProxyType({"method": "weighted", "weights": weights})
    alone = await verl.compute_score("any", GOOD, None, {"question": EGG}, aggregation=chosen)
    assert alone["score"] == close(alone["heads.a"])
    with pytest.raises(Refused, match="prompt_key"):
        await verl.compute_score("any", GOOD, None, {"split": "train"})
    monkeypatch.delenv("GUERDON_URL")
    with pytest.raises(Refused, match="GUERDON_URL"):
        await verl.compute_score("any", GOOD, None, {"question": EGG})


@pytest.mark.parametrize("sync", [False, True])
def test_ms_swift(demonstration, expected, sync):
    """As its table makes one, and as it calls it, each batch in an event loop of its own."""
    reward = orm(demonstration.url, name="Helpful", sync=sync)(args=SimpleNamespace())
    assert type(reward).__name__ == "Helpful"
    assert inspect.iscoroutinefunction(type(reward).__call__) is not sync
    columns = {
        "messages": [asked(p) + answered(r) for p, r in zip(PROMPTS, RESPONSES, strict=True)],
        "trainer_state": None, "prompt_id": ["1"] * 4, "solution": ["x"] * 4,
    }  # fmt: skip

    async def gathered():
        return await asyncio.gather(reward(RESPONSES, **columns))

    for _ in range(2):
        rewards = reward(RESPONSES, **columns) if sync else asyncio.run(gathered())[0]
        assert rewards == close(expected)


@pytest.mark.parametrize("templated", [False, True])
async def test_slime(demonstration, expected, monkeypatch, templated):
    """One sample, or a group with --group-rm; a number, or with --reward-key an object that holds it."""
    monkeypatch.setenv("GUERDON_URL", demonstration.url)
    samples = [
        SimpleNamespace(prompt=chatml(p) if templated else asked(p), response=r, label=None)
        for p, r in zip(PROMPTS, RESPONSES, strict=True)
    ]
    plain, keyed = SimpleNamespace(reward_key=None), SimpleNamespace(reward_key="reward")
    assert await custom_rm(plain, samples[0], evaluation=False) == close(expected[0])
    assert await custom_rm(plain, samples) == close(expected)
    told = await custom_rm(keyed, samples)
    assert [one["reward"] for one in told] == close(expected)
    assert [set(one) for one in told] == [{"reward", "std", "members"}] * 4
    assert set(told[0]["members"]) == MEMBERS


async def test_slime_a_reward_depends_on_nothing_but_its_sample(demonstration, expected, monkeypatch):
    """Alone or in a group of prompts in both forms, with an end token or without: what slime's own request is told."""
    monkeypatch.setenv("GUERDON_URL", demonstration.url)
    samples = [
        SimpleNamespace(prompt=form(EGG), response=GOOD + end)
        for form in (asked, chatml) for end in ("", "<|im_end|>")
    ]  # fmt: skip
    plain = SimpleNamespace(reward_key=None)
    rewards = await custom_rm(plain, samples)
    assert rewards == close([expected[0]] * 4)
    for sample, reward in zip(samples, rewards, strict=True):
        assert await custom_rm(plain, sample) == reward
        body = {"prompt": sample.prompt, "response": sample.response, "label": None}
        assert demonstration.post("/v1/slime/default", body).json() == reward


def chatml(prompt):
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


async def test_openrlhf(demonstration, expected, monkeypatch):
    """As its executor calls the function of a file: one sample at a time, on threads; then tensors are made of all."""
    monkeypatch.setenv("GUERDON_URL", demonstration.url)
    prompts = [chatml(prompt) for prompt in PROMPTS]
    queries = [f"{p}{r}<|im_end|>" for p, r in zip(prompts, RESPONSES, strict=True)]
    assert openrlhf.reward_func(queries[:1], prompts[:1], None)["rewards"] == close(expected[:1])
    for function in (openrlhf.reward_func, openrlhf.reward_func_of(demonstration.url, model="default")):
        calls = (asyncio.to_thread(function, [q], [p], [None]) for q, p in zip(queries, prompts, strict=True))
        told = await asyncio.gather(*calls)
        assert [torch.tensor([one["rewards"]]).item() for one in told] == close(expected)
        assert [torch.tensor([one["scores"]]).item() for one in told] == close(expected)
        assert {frozenset(one["extra_logs"]) for one in told} == {frozenset(MEMBERS | {"std"})}
        assert all(torch.tensor([value]).isfinite().all() for one in told for value in one["extra_logs"].values())


def ask_trl(url, **patience):
    trl.reward_func(url, sync=True, **patience)(prompts=[EGG], completions=[GOOD])


def ask_verl(url, **patience):
    if "retries" in patience:
        patience["retries"] = {"attempts": patience["retries"].attempts}
    verl.compute_score_blocking("any", GOOD, None, {"question": EGG}, url=url, **patience)


def ask_ms_swift(url, **patience):
    asyncio.run(orm(url, **patience)()([GOOD], messages=[asked(EGG) + answered(GOOD)]))


def ask_openrlhf(url, **patience):
    openrlhf.reward_func_of(url, **patience)([EGG + GOOD], [EGG], None)


def ask_slime(url, timeout_s=None, retries=None):
    async def once():
        try:
            await custom_rm(SimpleNamespace(), SimpleNamespace(prompt=EGG, response=GOOD))
        finally:
            await asynchronous(place()).close()

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GUERDON_URL", url)
        if timeout_s is not None:
            environment.setenv("GUERDON_TIMEOUT_S", str(timeout_s))
            environment.setenv("GUERDON_ATTEMPTS", str(retries.attempts))
        asyncio.run(once())


ADAPTERS = [ask_trl, ask_verl, ask_ms_swift, ask_openrlhf, ask_slime]


@pytest.mark.parametrize("ask", ADAPTERS)
def test_an_adapter_waits_longer_than_the_trainer_would(ask):
    """verl's own sixteen tries take 330 seconds, more than any other's; the service is told how long there is."""
    refusal = {"error": {"code": "invalid", "message": "no"}}
    with scripted(lambda *_: Answer(422, refusal)) as server:
        with pytest.raises(Refused):
            ask(server.url)
        (sent,) = server.asked
    assert int(sent.headers["x-request-timeout-ms"]) > 330_000


@pytest.mark.parametrize("ask", ADAPTERS)
def test_an_adapters_patience_can_be_set(ask):
    """In seconds, and in attempts."""
    overloaded = {"error": {"code": "overloaded", "message": "no"}}
    with scripted(lambda *_: Answer(503, overloaded)) as server:
        with pytest.raises(Busy):
            ask(server.url, timeout_s=50, retries=Retries(attempts=2))
        assert len(server.asked) == 2
    assert int(server.asked[0].headers["x-request-timeout-ms"]) <= 50_000


@pytest.mark.parametrize(("name", "value"), [("TIMEOUT_S", "soon"), ("TIMEOUT_S", "-1"), ("ATTEMPTS", "0")])
def test_the_environments_numbers_are_checked(monkeypatch, name, value):
    """By name, as they are read by trainers' workers far from where they were set."""
    monkeypatch.setenv(f"GUERDON_{name}", value)
    with pytest.raises(ValueError, match=f"GUERDON_{name}"):
        place("http://127.0.0.1:9")


@pytest.mark.parametrize("adapter", ["trl", "verl", "openrlhf", "slime", "ms_swift"])
def test_an_adapter_imports_no_trainer(adapter):
    """Nor anything heavy that a trainer would bring."""
    heavy = ("torch", "transformers", "datasets", "ray", "trl", "verl", "openrlhf", "slime", "swift", "numpy")
    probe = f"import sys, guerdon_client.{adapter}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "[]"
