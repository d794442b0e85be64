"""Judges on a real vLLM: a model that writes nonsense, held to the form of a verdict, gives a score."""

import asyncio
import concurrent.futures

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm_servers import counter, server_url

from checkpoint_tokenizers import CORPUS
from guerdon.domain.ports import ignore
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_settings import VllmSettings
from running import serving

QUESTION = "What is the capital of France?"
RESPONSES = ["Paris.", "It is Lyon, I believe.", "The capital of France is Paris, on the Seine."]
WHOLE = ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "16000"]
"""On a CPU, vLLM has no seeds for prompts that it reads in chunks."""
NEEDED = {"principle": {"principle": "Be brief and right."}, "verifier": {"reference": "Paris"}}
SCALE = {
    "grm": (1, 10),
    "principle": (1, 5),
    "pairwise": (0, 1),
    "verifier": (0, 1),
    "rubric": (1, 5),
    "tool": (1, 10),
}


@pytest.fixture(scope="module")
def judging(on_vllm, generator, tmp_path_factory):
    """A service with every recipe over one server."""
    common = {
        "kind": "judge",
        "model": str(generator),
        "rationale_chars": 12,
        "max_tokens": 2000,
        **on_vllm,
        "vllm_args": [*on_vllm["vllm_args"], "--max-model-len", "16000", *WHOLE],
    }
    recipes = ("grm", "principle", "pairwise", "verifier", "rubric", "tool")
    scorers = {recipe: {**common, "recipe": recipe} for recipe in recipes}
    # No form can have a model rank as it scores: of so many votes by chance, some do.
    scorers["principle"] |= {"votes": 16, "temperature": 1.0}
    scorers["eight"] = {**common, "recipe": "grm", "votes": 8, "temperature": 1.0}
    with serving({"scorers": scorers}, tmp_path_factory.mktemp("judging"), seconds=300) as running:
        yield running


def asked(running, model, responses=RESPONSES, **more):
    body = {"prompt": QUESTION, "responses": responses, **NEEDED.get(model, {})}
    answer = running.post("/v1/score", {"model": model, "inputs": [body], "detail": "rationale", **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]


@pytest.mark.parametrize("recipe", SCALE)
def test_every_recipe_scores_with_structured_output(judging, recipe):
    """Scores on the recipe's scale, votes that hold a verdict, and what the model wrote."""
    told = asked(judging, recipe, RESPONSES[:2])
    low, high = SCALE[recipe]
    assert all(low <= reward <= high for reward in told["rewards"])
    reports = told["judges"][recipe]
    assert sorted(index for report in reports for index in report["responses"]) == [0, 1]
    least = 1 if recipe == "principle" else reports[0]["votes"]
    assert all(report["valid"] >= least for report in reports)
    assert all(report["prompt_tokens"] > 0 and report["completion_tokens"] > 0 for report in reports)
    assert all("rationale" in ballot for report in reports for ballot in report["ballots"])


def test_long_responses_are_judged(judging):
    """Prompts of thousands of tokens."""
    told = asked(judging, "grm", [f"{'It is a long story. ' * 200}{name}" for name in ("Paris", "Lyon")])
    assert told["judges"]["grm"][0]["prompt_tokens"] > 4096
    assert all(1 <= reward <= 10 for reward in told["rewards"])


def test_the_same_question_has_the_same_verdict_and_another_seed_another(judging):
    """Stored, and computed anew; a seed is a part of the question."""
    first = asked(judging, "grm", seed=1)
    assert asked(judging, "grm", seed=1) == first
    others = [asked(judging, "grm", seed=seed) for seed in range(2, 8)]
    assert any(other["rewards"] != first["rewards"] for other in others)


def test_eight_votes_share_the_prefix_of_their_prompts(judging):
    """vLLM's own figures: the votes are under way together, and most of their prompts are found in its cache."""
    url = server_url(judging)
    before = {name: counter(url, name) for name in ("prefix_cache_queries", "prefix_cache_hits", "request_success")}
    most = 0.0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(asked, judging, "eight", [f"Answer number {index}." for index in range(4)])
        while not answer.done():
            most = max(most, counter(url, "num_requests_running"))
        report = answer.result()["judges"]["eight"][0]
    assert report["votes"] == 8
    after = {name: counter(url, name) for name in before}
    assert after["request_success"] - before["request_success"] == 8
    assert most > 4, "the votes were not under way together"
    found = after["prefix_cache_hits"] - before["prefix_cache_hits"]
    asked_for = after["prefix_cache_queries"] - before["prefix_cache_queries"]
    assert asked_for == report["prompt_tokens"]
    assert found > 0.6 * asked_for


def test_rerank_and_compare_ask_judges_too(judging):
    """Each pair's probability is what the judge said of it, in both orders."""
    body = {"model": "pairwise", "inputs": [{"prompt": QUESTION, "responses": RESPONSES}]}
    compared = judging.post("/v1/compare", body).json()["data"][0]
    table = compared["judges"]["pairwise"][0]["preferences"]
    assert compared["probability"] == [table[first][second] for first, second in compared["pairs"]]
    ranked = judging.post("/v1/rerank", {"model": "grm", "query": QUESTION, "documents": RESPONSES}).json()["results"]
    told = asked(judging, "grm")
    assert [result["relevance_score"] for result in ranked] == sorted(told["rewards"], reverse=True)


async def test_log_probabilities_are_transformers_own(judging, generator):
    """Of every token of fifty texts but the first, to what bfloat16 can hold; from the same server, by its URL."""
    tokenizer = AutoTokenizer.from_pretrained(generator)
    texts = [f"{CORPUS[index % len(CORPUS)]} {index}" for index in range(50)]
    sequences = [tokenizer(text)["input_ids"] for text in texts]
    settings = VllmSettings(
        model=str(generator), served_as=str(generator), runner="generate", url=server_url(judging)
    )  # fmt: skip
    engine = VllmEngine(settings, name="model", record=ignore)
    await engine.start()
    try:
        await engine.ready()
        until = asyncio.get_running_loop().time() + 120
        told = await asyncio.gather(*(engine.log_probabilities(ids, until) for ids in sequences))
    finally:
        await engine.close()
    expected, rounded = (references(generator, sequences, dtype) for dtype in (torch.float32, torch.bfloat16))
    own = np.abs(np.concatenate(rounded) - np.concatenate(expected))
    off = np.abs(np.concatenate([np.array(row) for row in told]) - np.concatenate(expected))
    assert off.mean() <= 2 * own.mean()
    assert off.max() <= 3 * own.max()


def references(folder, sequences, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0].float() for ids in sequences]
    told = [torch.log_softmax(row, -1)[:-1] for row in logits]
    return [
        row.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy() for row, ids in zip(told, sequences, strict=True)
    ]
