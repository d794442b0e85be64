"""Reward models and log-probabilities from a real vLLM, against our own engine and transformers."""

import asyncio

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoint_tokenizers import CORPUS
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_settings import VllmSettings
from running import serving

SAMPLES = [
    {"prompt": CORPUS[index % len(CORPUS)], "responses": [f"{CORPUS[(index * 7 + 3) % len(CORPUS)]} {index}"]}
    for index in range(100)
]
BFLOAT16 = 2.0**-8
"""The spacing of bfloat16 near 1."""


@pytest.fixture(scope="module")
def rewarding(on_vllm, classifier, tmp_path_factory):
    """One checkpoint behind three engines: float32 and bfloat16 here, bfloat16 on vLLM."""
    model = {"kind": "reward_model", "model": str(classifier)}
    scorers = {
        "exact": {**model, "dtype": "float32", "prefix_cache": 0},
        "torch": {**model, "dtype": "bfloat16", "prefix_cache": 0},
        "vllm": {**model, **on_vllm},
    }
    with serving({"scorers": scorers}, tmp_path_factory.mktemp("rewarding"), seconds=300) as running:
        yield running


def rewards(running, model):
    answer = running.post("/v1/score", {"model": model, "inputs": SAMPLES})
    assert answer.status_code == 200, answer.text
    return np.array([row["rewards"][0] for row in answer.json()["data"]])


def test_a_reward_model_on_vllm_gives_the_torch_engines_numbers(rewarding):
    """A hundred samples: as far from float32 as bfloat16 is here, and ranked alike."""
    exact, here, there = (rewards(rewarding, model) for model in ("exact", "torch", "vllm"))
    scale = exact.std()
    own = np.abs(here - exact).max()
    assert np.abs(there - exact).max() <= max(2 * own, 8 * BFLOAT16 * scale)
    assert np.corrcoef(there, exact)[0, 1] > 0.999


def test_a_sample_too_long_is_refused_and_its_neighbours_are_rewarded(rewarding):
    """The error names the response."""
    inputs = [SAMPLES[0], {"prompt": "a " * 2000, "responses": ["b"]}]
    data = rewarding.post("/v1/score", {"model": "vllm", "inputs": inputs}).json()["data"]
    assert data[0]["rewards"] == pytest.approx([rewards(rewarding, "vllm")[0]], abs=0.1)
    assert data[1]["error"]["code"] == "response_too_long"


async def engine_of(model, on_vllm, **more):
    settings = VllmSettings(
        model=str(model),
        served_as="model",
        python=on_vllm["vllm_python"],
        env=tuple(on_vllm["vllm_env"].items()),
        start_timeout_s=300,
        **more,
    )
    engine = VllmEngine(settings, name="model", record=lambda event: None)
    await engine.start()
    await engine.ready()
    return engine


def deadline():
    return asyncio.get_running_loop().time() + 120


async def test_log_probabilities_are_transformers_own(on_vllm, generator):
    """Of every token of fifty texts but the first, to what bfloat16 can hold."""
    tokenizer = AutoTokenizer.from_pretrained(generator)
    sequences = [tokenizer(sample["prompt"] + sample["responses"][0])["input_ids"] for sample in SAMPLES[:50]]
    engine = await engine_of(generator, on_vllm, runner="generate", dtype="bfloat16")
    try:
        told = await asyncio.gather(*(engine.log_probabilities(ids, deadline()) for ids in sequences))
    finally:
        await engine.close()
    expected = [reference(generator, ids, torch.float32) for ids in sequences]
    rounded = [reference(generator, ids, torch.bfloat16) for ids in sequences]
    own = np.abs(np.concatenate(rounded) - np.concatenate(expected))
    off = np.abs(np.concatenate([np.array(row) for row in told]) - np.concatenate(expected))
    assert off.mean() <= 2 * own.mean()
    assert off.max() <= 3 * own.max()


def reference(folder, ids, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].float()
    return torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()
