"""Scorers by themselves, over an engine that computes at once."""

import numpy as np
import pytest

from checkpoints import build_backbone
from engines import compute
from guerdon.domain.errors import EngineFailed, NonFinite, ResponseTooLong
from guerdon.domain.samples import Message, Sample, assistant, plain_text, user
from guerdon.engines.settings import EngineSettings
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.torch_engine import TorchEngine
from guerdon.scorers.head_ensemble import HeadEnsemble
from guerdon.scorers.heads import Head
from guerdon.scorers.reward_model import RewardModel
from oracle import reference_embedding


class Answering:
    """An engine that gives prepared answers, or asks a real one; it remembers the queries."""

    def __init__(self, answers=None, real=None):
        self.answers, self.real, self.asked = answers, real, []

    async def answer(self, queries, deadline):
        self.asked += queries
        return compute(self.real, queries).answers if self.real else self.answers[: len(queries)]


def sample(response, prompt="Hi"):
    return Sample(messages=user(prompt), responses=(assistant(response),))


def linear(rng, features, width, pooling):
    return Head(
        weights=(rng.normal(size=(1, width)).astype("f4"),),
        biases=(rng.normal(size=1).astype("f4"),),
        features=features,
        pooling=pooling,
    )


async def test_heads_over_a_conversation_read_its_last_token(checkpoint):
    """A decoder's pooled last token, under two linear heads, as computed by hand from transformers' states."""
    folder = checkpoint("qwen3")
    tokenizer = ModelTokenizer(folder, max_tokens=512)
    engine = TorchEngine(EngineSettings(folder=str(folder), task="embed", device="cpu"))
    rng = np.random.default_rng(3)
    heads = {name: linear(rng, ("conversation@-1",), 64, "last") for name in ("x", "y")}
    width = compute(engine, [_query(tokenizer)]).answers[0].shape[0]
    heads = {name: linear(rng, ("conversation@-1",), width, "last") for name in ("x", "y")}
    scorer = HeadEnsemble(Answering(real=engine), tokenizer, heads)
    outcomes = await scorer.score([sample("Hello."), sample(""), sample("a " * 40)], 0.0)
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    import torch

    for response, outcome in zip(("Hello.", "", "a " * 40), outcomes, strict=True):
        ids = tokenizer.conversation(user("Hi"), assistant(response)).ids
        with torch.no_grad():
            last = model(torch.tensor([ids])).last_hidden_state[0, -1].numpy()
        right = [float(last @ head.weights[0][0] + head.biases[0][0]) for head in heads.values()]
        assert outcome.values[0] == pytest.approx(right, rel=1e-4, abs=1e-4)


def _query(tokenizer):
    from guerdon.domain.queries import Query

    return Query.of(tokenizer.conversation(user("Hi"), assistant("x")).ids, layers=(-1,), pooling="last")


async def test_each_distinct_text_is_encoded_once(tmp_path):
    """Eight responses to one prompt are nine texts; a response that repeats the prompt is none more."""
    folder = build_backbone(tmp_path / "backbone")
    tokenizer = ModelTokenizer(folder, max_tokens=512)
    engine = Answering(real=TorchEngine(EngineSettings(folder=str(folder), task="embed", device="cpu")))
    width = 2 * len(reference_embedding(folder, (5, 6), 1))
    head = linear(np.random.default_rng(1), ("prompt@2", "response@1"), width, "mean")
    scorer = HeadEnsemble(engine, tokenizer, {"h": head})
    responses = [*["How", "do", "I", "bake", "a", "loaf"], "bread", "Hi"]
    outcomes = await scorer.score([sample(response) for response in responses], 0.0)
    assert len(engine.asked) == len(set(engine.asked)) == len(responses) == 8
    vector = lambda text, layer: reference_embedding(folder, tokenizer.text(text).ids, layer)  # noqa: E731
    scaled = lambda v: v / np.linalg.norm(v)  # noqa: E731
    for response, outcome in zip(responses, outcomes, strict=True):
        inputs = np.concatenate([scaled(vector("Hi", 2)), scaled(vector(response, 1))])
        assert outcome.values[0] == pytest.approx(head(inputs[None]).tolist(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
async def test_a_number_that_is_not_finite_is_an_error_of_its_own_response(number, checkpoint):
    """Its neighbours are scored; it is never a score."""
    engine = Answering([np.array([1.0], "f4"), np.array([number], "f4"), np.array([2.0], "f4")])
    scorer = RewardModel(engine, ModelTokenizer(checkpoint("bert"), max_tokens=512), labels=("r",))
    first, bad, last = await scorer.score([sample("a"), sample("b"), sample("c")], 0.0)
    assert isinstance(bad, NonFinite)
    assert (first.values, last.values) == (((1.0,),), ((2.0,),))


async def test_errors_stay_with_their_samples(checkpoint):
    """One that cannot be tokenised and one that the engine fails on, among good ones: everything in its place."""
    engine = Answering([np.array([1.0], "f4"), EngineFailed("no"), np.array([3.0], "f4")])
    scorer = RewardModel(engine, ModelTokenizer(checkpoint("bert"), max_tokens=20), labels=("r",))
    outcomes = await scorer.score([sample("a"), sample("b"), sample("word " * 60), sample("c")], 0.0)
    assert [type(outcome) for outcome in outcomes[1:3]] == [EngineFailed, ResponseTooLong]
    assert (outcomes[0].values, outcomes[3].values) == (((1.0,),), ((3.0,),))


def test_turns_become_text_for_models_without_roles():
    """One turn is its content; of several, each names its role."""
    assert plain_text(user("Hi")) == "Hi"
    assert plain_text((*user("Hi"), Message("assistant", "Hello"))) == "user: Hi\nassistant: Hello"
