"""Verdicts of one word: read from what was written, weighed by the first token's log-probabilities."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.domain.chat import Generation
from guerdon.domain.samples import user
from guerdon.scorers.judges.choices import chat, mass, probabilities, spoken, told, weighed
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.recipe import Unparsable

VERDICTS = Path(__file__).parent / "verdicts"
CHOICES = {"verifier": ("YES", "NO"), "pairwise": ("A", "B")}
CASES = [
    pytest.param(choices, case, id=f"{recipe}-{case['name']}")
    for recipe, choices in CHOICES.items()
    for case in json.loads((VERDICTS / f"{recipe}.json").read_text(encoding="utf-8"))
]
log_probability = st.floats(-50, 0)


@pytest.mark.parametrize(("choices", "case"), CASES)
def test_a_verdict_is_read_as_it_stands_or_not_at_all(choices, case):
    """What models write, good and broken; and what their first tokens weigh, as worked by hand."""
    match case:
        case {"first": first, "verdict": None}:
            assert weighed(first, choices) is None
        case {"first": first, "verdict": right}:
            assert weighed(first, choices) == pytest.approx(right, abs=1e-8)
        case {"text": text, "verdict": right}:
            assert choices[spoken(text, choices)] == right
        case {"text": text, "error": reason}:
            with pytest.raises(Unparsable, match=reason):
                spoken(text, choices)


@pytest.mark.parametrize("recipe", CHOICES)
def test_there_are_enough_verdicts(recipe):
    """At least sixty a recipe, no two of them alike."""
    cases = json.loads((VERDICTS / f"{recipe}.json").read_text(encoding="utf-8"))
    assert len({case.get("text", str(case.get("first"))) for case in cases}) == len(cases) >= 60


@given(log_probability, log_probability, st.dictionaries(st.text(), log_probability, max_size=8))
def test_weights_are_the_softmax_of_the_choices(yes, no, others):
    """They sum to one, and other tokens do not move them."""
    strangers = {f"Z{token}": log for token, log in others.items()}
    weights = weighed({"YES": yes, "NO": no, **strangers}, ("YES", "NO"))
    assert sum(weights) == pytest.approx(1)
    assert weights[0] == pytest.approx(1 / (1 + math.exp(no - yes)))


def test_a_token_that_may_become_several_choices_counts_for_none():
    """With GOOD and GREAT, a G says nothing; GO does."""
    assert weighed({"G": -0.1, "GO": -2.0}, ("GOOD", "GREAT")) == (1.0, 0.0)
    assert weighed({"G": -0.1}, ("GOOD", "GREAT")) is None


@given(st.text())
def test_a_reason_holds_little_of_what_the_model_wrote(text):
    """At most eighty characters of it, however long and odd it is."""
    long = f"Q{text * 30}{'z' * 200}"
    with pytest.raises(Unparsable) as error:
        spoken(long, ("YES", "NO"))
    assert "z" * 81 not in str(error.value)
    assert len(str(error.value)) < 600


def test_an_answer_that_was_cut_says_so():
    """The reader of the error learns that max_tokens was too low; a verdict before the cut is one."""
    with pytest.raises(Unparsable, match="cut at max_tokens"):
        told(Generation(text="<think>First I", finish="length"), ("YES", "NO"))
    assert told(Generation(text="NO, since", finish="length"), ("YES", "NO")) == 1


def test_logits_are_read_without_sampling():
    """Temperature 0 and a few tokens, held to the choices; the written word is sampled as configured."""
    judging = Judging(temperature=0.7, top_p=0.9, max_tokens=100)
    read = chat(user("?"), ("A", "B"), "logits", judging, 5)
    assert (read.temperature, read.top_p, read.alternatives, read.choices, read.seed) == (0, 1, 20, ("A", "B"), 5)
    assert read.max_tokens <= 8
    written = chat(user("?"), ("A", "B"), "text", judging.model_copy(update={"structured": False}), 5)
    assert (written.temperature, written.top_p, written.max_tokens) == (0.7, 0.9, 100)
    assert (written.alternatives, written.choices) == (0, ())


def test_without_log_probabilities_the_error_names_the_way_out():
    """Nothing is guessed from the text where logits were to be read."""
    for answer in (Generation(text="YES"), Generation(text="YES", first={"The": -0.1})):
        with pytest.raises(Unparsable, match="verdict: text"):
            probabilities(answer, ("YES", "NO"), "logits", Judging())


def test_a_thought_before_the_verdict_leaves_no_first_token_of_it():
    """The first token is then the thought's."""
    answer = Generation(text="YES", reasoning="Hm.", first={"YES": -0.1})
    with pytest.raises(Unparsable, match="thinks before"):
        probabilities(answer, ("YES", "NO"), "logits", Judging())


@pytest.mark.parametrize("structured", [True, False])
def test_verdict_words_in_the_tail_are_no_verdict(structured):
    """A model that sets out to explain has no verdict in its first token, whatever that token's tails say."""
    answer = Generation(text="The reference", first={"The": -0.0002, "YES": -9.0, "NO": -10.0})
    with pytest.raises(Unparsable, match=r"YES and NO hold 0\.00017 of the first token.*verdict: text"):
        probabilities(answer, ("YES", "NO"), "logits", Judging(structured=structured))


def test_the_choices_must_hold_half_of_the_first_token():
    """By hand: 0.3 and 0.19 are too little, 0.3 and 0.21 are enough, and come to 10 in 17."""
    for no in (0.19, 0.21):
        answer = Generation(text="YES", first={"YES": math.log(0.3), " no": math.log(no), "The": math.log(0.4)})
        assert mass(answer.first, ("YES", "NO")) == pytest.approx(0.3 + no)
        if no < 0.2:
            with pytest.raises(Unparsable, match=r"hold 0\.49"):
                probabilities(answer, ("YES", "NO"), "logits", Judging())
        else:
            assert probabilities(answer, ("YES", "NO"), "logits", Judging())[0] == pytest.approx(10 / 17)


@given(st.dictionaries(st.sampled_from(["A", "B", " a", "b.", "The"]), st.floats(-1e9, 1e9)))
def test_no_mass_is_more_than_all(first):
    """Whatever a server sends."""
    assert 0 <= mass(first, ("A", "B")) <= 1


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("text", ["The reference", "No doubt, YES", "", "Yesterday"])
def test_what_is_written_must_be_a_verdict_too(structured, text):
    """Even where the first token's weights look like one."""
    answer = Generation(text=text, first={"YES": -0.2, "NO": -2.0})
    with pytest.raises(Unparsable):
        probabilities(answer, ("YES", "NO"), "logits", Judging(structured=structured))
