"""R3 (reward-systems: "Rethinking the Role of Proxy Rewards") against hand-worked cases."""

import numpy as np
import pytest

from checkpoints import build_backbone
from engines import compute
from guerdon.domain.samples import Sample, assistant, user
from guerdon.engines.settings import EngineSettings
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.torch_engine import TorchEngine
from guerdon.scorers.relevance import (
    CONSTRAINED_TOP,
    Relevance,
    RelevanceRange,
    constrained,
    cut_response,
    length_incentive,
    open_ended,
    repetition_penalty,
)
from oracle import reference_embedding

PAPER_RANGE = RelevanceRange(low=0, high=3.5)


def test_length_is_counted_in_hundreds_of_words():
    """LI = number of words and punctuation runs / 100."""
    assert length_incentive(["a"] * 250) == 2.5
    assert length_incentive([]) == 0.0


def test_repetition_is_the_share_of_distinct_trigrams():
    """a b a b a b has the trigrams aba, bab, aba, bab: two of four."""
    assert repetition_penalty(["a", "b", "a", "b", "a", "b"]) == 0.5
    assert repetition_penalty(["a", "b", "c", "d"]) == 1.0


def test_without_a_trigram_nothing_is_repeated():
    """Two words have no trigram; the factor is 1."""
    assert repetition_penalty(["a", "a"]) == 1.0


def test_the_open_ended_branch_is_the_product_of_three():
    """LI * QR * RP: six words, relevance 2, half of the trigrams repeated: 0.06 * 2 * 0.5."""
    words = ["a", "b", "a", "b", "a", "b"]
    assert open_ended(length_incentive(words), 2.0, repetition_penalty(words)) == pytest.approx(0.06)


def test_the_constrained_branch_interpolates_and_clamps():
    """0 to 3.5 becomes 0 to 5.12; outside it stops; length is not rewarded, repetition is punished."""
    assert constrained(1.75, 1.0, PAPER_RANGE) == pytest.approx(2.56)
    assert constrained(-1.0, 1.0, PAPER_RANGE) == 0.0
    assert constrained(9.0, 1.0, PAPER_RANGE) == pytest.approx(CONSTRAINED_TOP) == pytest.approx(5.12)
    assert constrained(3.5, repetition_penalty(["a", "b", "a", "b", "a", "b"]), PAPER_RANGE) == pytest.approx(2.56)


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        ("Yes.\nHuman: and?", "Yes."),
        ("Yes.\n\n\n\nMore", "Yes."),
        ("Yes.\n\n--\nx", "Yes."),
        ("Yes.\n\n____", "Yes."),
        ("One.\n\nTwo.", "One.\n\nTwo."),
        ("A human: me", "A human: me"),
    ],
)
def test_a_response_ends_where_it_plays_the_other_side(response, kept):
    """Role prefixes and rulers end a response; ordinary paragraphs do not."""
    assert cut_response(response) == kept


class Straight:
    """An engine that computes at once."""

    def __init__(self, engine):
        self.engine = engine

    async def answer(self, queries, deadline):
        return compute(self.engine, queries).answers


async def test_the_scorer_takes_the_branch_that_the_sample_asks_for(tmp_path):
    """With a reference the dot product is with the reference, without one with the prompt: both as torch gives them."""
    folder = build_backbone(tmp_path / "backbone")
    tokenizer = ModelTokenizer(folder, max_tokens=512)
    engine = Straight(TorchEngine(EngineSettings(folder=str(folder), task="embed", device="cpu")))
    scorer = Relevance(engine, tokenizer, RelevanceRange(low=-50, high=50))
    prompt, response, reference = "How do I bake bread?", "Mix flour and water.", "Flour, water, yeast."
    samples = [
        Sample(messages=user(prompt), responses=(assistant(response),)),
        Sample(messages=user(prompt), responses=(assistant(response),), reference=reference),
    ]
    open_score, constrained_score = [o.values[0][0] for o in await scorer.score(samples, 0.0)]
    vector = lambda text: reference_embedding(folder, tokenizer.text(text).ids, -1)  # noqa: E731
    to_prompt, to_reference = (float(np.dot(vector(text), vector(response))) for text in (prompt, reference))
    assert open_score == pytest.approx(5 / 100 * to_prompt, rel=1e-5)  # four words and a full stop, nothing repeated
    assert constrained_score == pytest.approx((to_reference + 50) / 100 * 5.12, rel=1e-5)


def test_a_range_must_rise():
    """Low above high is a mistake in the configuration."""
    with pytest.raises(ValueError, match="above"):
        RelevanceRange(low=1, high=0)
