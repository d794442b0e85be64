"""Reward models on a real vLLM, against our own engine and transformers."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from checkpoint_tokenizers import CORPUS
from running import serving

SAMPLES = [
    {"prompt": CORPUS[index % len(CORPUS)], "responses": [f"{CORPUS[(index * 7 + 3) % len(CORPUS)]} {index}"]}
    for index in range(100)
]


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
    """A hundred samples: about as far from float32 as bfloat16 is here, and ranked alike."""
    exact, here, there = (rewards(rewarding, model) for model in ("exact", "torch", "vllm"))
    own, off = np.abs(here - exact), np.abs(there - exact)
    assert off.mean() <= 2 * own.mean()
    assert off.max() <= 3 * own.max()
    assert np.corrcoef(there, exact)[0, 1] > 0.999


def test_a_sample_too_long_is_refused_and_its_neighbours_are_rewarded(rewarding):
    """The error names the response."""
    inputs = [SAMPLES[0], {"prompt": "a " * 2000, "responses": ["b"]}]
    data = rewarding.post("/v1/score", {"model": "vllm", "inputs": inputs}).json()["data"]
    assert data[0]["rewards"] == pytest.approx([rewards(rewarding, "vllm")[0]], abs=0.1)
    assert data[1]["error"]["code"] == "response_too_long"


def test_a_process_reward_model_gives_each_step_its_probability(on_vllm, step_classifier, tmp_path):
    """Softmax of the head's outputs at the mark behind each step, as transformers computes them; and what they make."""
    scorer = {"kind": "process_reward_model", "model": str(step_classifier), "step_token": "<|endoftext|>", **on_vllm}
    config = {"scorers": {"steps": {**scorer, "dtype": "float32", "reduce": "min"}}}
    steps = ["Two and two are four.", "Four and one are five.", "So it is six."]
    body = {"prompt": "What is 2 + 2 + 1?", "responses": ["\n\n".join(steps), "5"]}
    with serving(config, tmp_path, seconds=300) as running:
        answer = running.post("/v1/score", {"model": "steps", "inputs": [body], "detail": "steps"})
    told = answer.json()["data"][0]
    reports = told["steps"]["steps"]
    for report, parts in zip(reports, (steps, ["5"]), strict=True):
        expected = step_probabilities(step_classifier, body["prompt"], parts)
        assert report["steps"] == pytest.approx(expected, abs=1e-3)
        assert report["product"] == pytest.approx(np.prod(expected), abs=1e-3)
    assert told["rewards"] == [min(report["steps"]) for report in reports]


def step_probabilities(folder, prompt, steps):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    mark = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    turns = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": "".join(step + "<|endoftext|>" for step in steps)},
    ]
    ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    with torch.inference_mode():
        logits = model.score(model.model(torch.tensor([ids])).last_hidden_state)[0]
    places = [place for place, token in enumerate(ids) if token == mark]
    return torch.softmax(logits[places].double(), -1)[:, 1].tolist()
