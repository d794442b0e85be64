"""The demonstration ensemble that is served without a configuration."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from guerdon.config.load import load
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.scorers.heads import Head, load_head, pair_features, save_head
from guerdon.wiring import plan

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def planned(cache):
    config, base = load(None, {})
    return plan(config, base=base, cache=cache)


@pytest.fixture
def service(demonstration):
    return demonstration


def rows(name):
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def best_of(service, row, model="default"):
    body = {"model": model, "query": row["prompt"], "responses": row["responses"], "top_n": 1}
    return service.post("/v1/rerank", body).json()["results"][0]["index"]


def test_it_picks_an_acceptable_response(api):
    """For at least 85 % of the shipped prompts, none of which was used in training."""
    examples = rows("best_of_n.jsonl")
    trained = {row["prompt"] for row in rows("default_model/questions.jsonl")}
    assert len(examples) >= 30
    assert not trained & {row["prompt"] for row in examples}
    right = sum(best_of(api, row) in row["acceptable"] for row in examples)
    assert right / len(examples) >= 0.85


def test_raw_member_scores_are_the_published_heads_over_the_published_backbone(api, planned):
    """Each member equals its head file, applied by hand to transformers' own hidden states."""
    folder = planned.scorers["heads"].checkpoint.folder
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def layers(text):
        with torch.no_grad():
            states = model(torch.tensor([tokenizer.encode(text).ids]), output_hidden_states=True).hidden_states
        return {index: states[index][0].mean(0).numpy() for index in (2, 4, 6)}

    row = rows("best_of_n.jsonl")[0]
    body = {"inputs": [{"prompt": row["prompt"], "responses": row["responses"]}], "detail": "members"}
    members = api.post("/v1/score", body).json()["data"][0]["members_raw"]
    heads = Path(load(None, {})[1]) / "heads"
    for name, scores in members.items():
        head = load_head(heads / f"{name.removeprefix('heads.')}.safetensors")
        inputs = [
            pair_features(head.features, layers(row["prompt"]), layers(response)) for response in row["responses"]
        ]
        assert scores == pytest.approx(head(np.stack(inputs)).tolist(), rel=1e-4, abs=1e-4)


def test_one_forward_pass_carries_every_head(service):
    """The ensemble, its members and a second aggregation cost one computation."""
    one = {"prompt": "How do I water a cactus?", "responses": ["Rarely, and only when the soil is dry."]}
    first = service.post("/v1/score", {"inputs": [one]}).json()
    assert first["usage"]["tokens_computed"] > 0
    for model in ("heads.a", "heads.e", "heads", "default"):
        again = service.post("/v1/score", {"model": model, "inputs": [one]}).json()
        assert (again["usage"]["cached"], again["usage"]["tokens_computed"]) == (1, 0)


def test_relevance_prefers_what_is_relevant(api):
    """With a reference the constrained branch, within 0 and 5.12; without one the open-ended."""
    close, far = "Boil it for eight minutes in a pot of water.", "The moon is far away."
    one = {"prompt": "How do I boil an egg?", "responses": [close, far]}
    gold = api.post(
        "/v1/score", {"model": "relevance", "inputs": [{**one, "reference": "Cook it in boiling water for 8 minutes."}]}
    )
    free = api.post("/v1/score", {"model": "relevance", "inputs": [one]})
    for answer in (gold, free):
        near_reward, far_reward = answer.json()["data"][0]["rewards"]
        assert near_reward > far_reward
    assert all(0 <= reward <= 5.12 for reward in gold.json()["data"][0]["rewards"])


def test_the_tokenizer_files_own_limit_of_128_is_off(planned):
    """Texts of up to 512 tokens are read whole, without padding; longer ones are refused."""
    tokenizer: ModelTokenizer = planned.scorers["heads"].tokenizer
    assert len(tokenizer.text("word " * 300).ids) == 302
    assert len(tokenizer.text("word").ids) == 3
    assert tokenizer.max_tokens == 512


def test_a_text_of_more_than_512_tokens_is_an_error(api):
    """It names the response and the limit."""
    body = {"inputs": [{"prompt": "Hi", "responses": ["fine", "word " * 600]}]}
    answer = api.post("/v1/score", body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "inputs[0].responses[1]"
    assert "at most 512" in answer.json()["error"]["message"]


def test_the_members_disagree_a_little(api):
    """Five heads are five opinions, if close ones: the spread is never 0."""
    row = rows("best_of_n.jsonl")[1]
    answer = api.post("/v1/score", {"inputs": [{"prompt": row["prompt"], "responses": row["responses"]}]}).json()
    assert all(spread > 0 for spread in answer["data"][0]["std"])


def test_a_head_file_is_what_was_saved(tmp_path):
    """Weights, features, pooling and calibration come back; another file is refused by name."""
    rng = np.random.default_rng(1)
    head = Head(
        weights=(rng.normal(size=(3, 8)).astype("f4"), rng.normal(size=(1, 3)).astype("f4")),
        biases=(rng.normal(size=3).astype("f4"), rng.normal(size=1).astype("f4")),
        features=("prompt@-1", "response@2"),
        calibration=None,
    )
    save_head(tmp_path / "h.safetensors", head)
    again = load_head(tmp_path / "h.safetensors")
    inputs = rng.normal(size=(5, 8)).astype("f4")
    assert np.array_equal(head(inputs), again(inputs))
    assert (again.features, again.pooling, again.calibration) == (head.features, "mean", None)
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a readable"):
        load_head(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("features", [("prompt@6", "conversation@6"), ("prompt",), ("size@6",)])
def test_features_that_cannot_be_are_refused(features):
    """A head reads a pair or a conversation, by layer."""
    with pytest.raises(ValueError, match="feature"):
        Head(weights=(np.zeros((1, 1), "f4"),), biases=(np.zeros(1, "f4"),), features=features)
