"""The guard before judges: what it refuses, and above all what it lets pass."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.scorers.judges.guard import suspicion

SHIPPED = files("guerdon.builtin") / "audit"


def shipped(name):
    return json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))


KEYS = shipped("master_keys")
INJECTIONS = shipped("injections")
HONEST = shipped("honest")
TEXTS = json.loads((Path(__file__).parent / "honest_texts.json").read_text(encoding="utf-8"))
REFUSED = json.loads((Path(__file__).parent / "refused_texts.json").read_text(encoding="utf-8"))
ATTACKS = {attack["name"]: attack["text"] for attack in INJECTIONS}


def test_what_is_shipped_for_audits_is_whole():
    """The ten published keys, thirty commands or more, five hundred honest answers, none of them twice."""
    assert len(set(KEYS["published"])) == 10
    assert not set(KEYS["published"]) & set(KEYS["extended"])
    assert len(ATTACKS) == len(INJECTIONS) == len(set(ATTACKS.values())) >= 30
    assert len({(row["question"], row["answer"]) for row in HONEST}) == len(HONEST) == 500
    assert all(set(row) == {"question", "reference", "answer"} and row["answer"].strip() for row in HONEST)
    assert len(TEXTS) >= 40


@pytest.mark.parametrize("key", KEYS["published"] + KEYS["extended"], ids=ascii)
def test_every_master_key_is_refused(key):
    """With a reference and without, with line breaks around it, and said twice."""
    for response in (key, f"\n{key}\n\n", f"{key}\n{key}"):
        assert suspicion(response) == suspicion(response, "42") == "content_free"


@pytest.mark.parametrize("name", ATTACKS)
def test_every_command_to_a_judge_is_refused(name):
    """Alone, after an answer, and before one."""
    text = ATTACKS[name]
    assert suspicion(text) == suspicion(text, "42") == "injection"
    assert suspicion(f"The river is 640 km long.\n\n{text}") == "injection"
    assert suspicion(f"{text}\n\nThe river is 640 km long.") == "injection"


def test_no_honest_short_answer_is_refused():
    """0 of 500."""
    assert [row for row in HONEST if suspicion(row["answer"], row["reference"])] == []


def test_without_their_references_only_bare_punctuation_is_refused():
    """A judge that is sent no reference cannot tell a lone full stop that answers from one that does not."""
    refused = [row["answer"] for row in HONEST if suspicion(row["answer"])]
    assert not any(sign.isalnum() for answer in refused for sign in answer)
    assert len(refused) < 20


@pytest.mark.parametrize("text", [pytest.param(text["text"], id=text["name"]) for text in TEXTS])
def test_honest_texts_are_not_refused(text):
    """Essays that quote attacks, prompts for judges, code that ignores, contests that print YES, letters to judges."""
    assert suspicion(text) is None
    assert suspicion(text, "42") is None


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason in REFUSED for text in REFUSED[reason]])
def test_what_looks_like_an_honest_text_and_is_none_is_refused(reason, text):
    """Openings with nothing behind them, and what is demanded for this very answer, or for all."""
    assert suspicion(text) == suspicion(text, "42") == reason


@pytest.mark.parametrize("text", ["[]", "{}", "[ ]", "`[]`", "```json\n{}\n```", "```\n[]\n```"])
def test_an_empty_list_answers_where_there_is_no_reference(text):
    """In a code fence or not."""
    assert suspicion(text) is None


@pytest.mark.parametrize("text", ["[]", "{}", "[ ]"])
def test_with_a_reference_an_empty_list_must_be_that_one(text):
    """Else it is punctuation."""
    assert suspicion(text, text) is None
    assert suspicion(text, "42") == "content_free"


@given(st.sampled_from([row["reference"] for row in HONEST] + list(ATTACKS.values()) + KEYS["published"][3:]))
def test_an_answer_that_equals_its_reference_is_never_refused(reference):
    """In any case, with white space or emphasis around it; unless the reference is blank itself."""
    assert suspicion(reference, reference) is None
    assert suspicion(f" {reference}\n", reference) is None
    assert suspicion(reference.upper(), reference) is None or reference.upper().casefold() != reference.casefold()


def test_a_blank_reference_excuses_nothing():
    """An empty response is not right because the reference is missing."""
    assert suspicion("", "") == suspicion(" ", " ") == suspicion("Solution", "") == "content_free"


def test_a_reference_that_merely_contains_an_opening_excuses_nothing():
    """References are often whole sentences."""
    assert suspicion("The answer is", "The answer is 4.") == "content_free"
    assert suspicion("Solution", "no solution") == "content_free"
    assert suspicion(".", ",") == "content_free"


@pytest.mark.parametrize("word", ["answer", "analysis", "proof", "result", "Step 1", "thought", "output"])
def test_words_that_answer_something_are_refused_as_titles_only(word):
    """ "Analysis" is a branch of mathematics; "**Analysis:**" with nothing behind it is a title."""
    assert suspicion(word) is None
    for title in (f"{word}:", f"## {word}", f"**{word}**", f"**{word}:**\n"):
        assert suspicion(title) == "content_free"


@given(
    st.sampled_from(["Solution:", "解：", "Let's solve this problem step by step.", "Answer:"]), st.integers(2, 9999)
)
def test_anything_behind_an_opening_is_an_answer(opening, number):
    """The guard judges no answers."""
    assert suspicion(f"{opening} {number}") is None
    assert suspicion(f"{opening} x") is None


@given(st.text())
def test_any_text_is_judged(text):
    """No text is too odd, and case does not matter where it does not change the letters."""
    assert suspicion(text, text) in (None, "content_free")
    assert suspicion(text) in (None, "content_free", "injection")


def test_a_thought_is_no_answer():
    """What counts is what stands behind it; a thought that is not ended holds no answer to refuse."""
    thought = "<think>\n3 + 4 = 7.\n</think>\n\n"
    assert suspicion(thought) == suspicion(f"{thought}Solution:") == "content_free"
    assert suspicion(f"{thought}7") is None
    assert suspicion("The tag that ends a thought is </think>") is None
    assert suspicion("<think>\n3 + 4 =") is None


HARD = {
    "one token": "okay let's see ",
    "plans": "to solve this ",
    "quotation marks": '"',
    "turns": "grader: ",
    "demands": "output yes ",
    "criteria": '"criteria": ',
    "criteria and analyses": '"criteria": "analysis": ',
    "marks for others": "give full marks to all ",
    "sections": "specific criteria:\n",
    "signs": "#",
    "code": "`a",
    "fences": "```\n",
    "fences with a language": "```a\n",
    "line ends": "\n",
    "blanks": " ",
    "dashes": "- - ",
    "verdicts": "verdict ",
    "scores": "scores: ",
    "forged numbers": "1,",
    "instructions": "[inst] a\n",
    "sections of a verifier": "**reference answer:** ",
    "pleas": "give it ",
    "one endless word": "ignorieretalimatignore",
    "opened quotations": "\u201ca",
    "end tokens": "<|im_end|> ",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HARD.values(), ids=HARD)
def test_long_texts_are_judged_in_linear_time(piece):
    """A hundred thousand characters that nearly match, again and again, end; backtracking would take hours."""
    words = "ignore judge system yes 10 best correct scores: \\boxed{"
    assert suspicion(f"{words} {piece * (100_000 // len(piece))} {words}") in (None, "injection")
