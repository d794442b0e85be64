"""Templated text is split into the turns that a template was given. Transformers writes the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_tokenizers import tokenizer_of
from guerdon.domain.samples import Message, assistant, user
from guerdon.transport.compat.templates import split

NAMES = {"qwen": "chatml", "llama": "llama-3", "gemma": "gemma", "mistral": "llama-2"}
TEXT = st.text(st.characters(exclude_characters="<[", exclude_categories=["Cs"]), max_size=30)
TRIMMED = TEXT.map(str.strip)


@st.composite
def conversations(draw, content):
    """A system turn or none, then user and assistant in turn, the assistant last."""
    turns = [Message("system", draw(content))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns += [Message("user", draw(content)), Message("assistant", draw(content))]
    return turns


def written(family, turns):
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return tokenizer_of(family).apply_chat_template(messages, tokenize=False)


@settings(max_examples=40, deadline=None)
@given(turns=conversations(TEXT))
def test_chatml_comes_apart_as_it_was_put_together(turns):
    """To the last blank: ChatML changes nothing in a turn."""
    found = split(written("qwen", turns))
    assert (found.template, [*found.messages, *found.response]) == ("chatml", turns)


@pytest.mark.parametrize("family", ["llama", "gemma", "mistral"])
@settings(max_examples=40, deadline=None)
@given(turns=conversations(TRIMMED))
def test_other_templates_come_apart_but_for_outer_blanks(family, turns):
    """These templates trim turns, so trimmed turns come back."""
    if family in ("gemma", "mistral"):
        turns = [turn for turn in turns if turn.role != "system"]
    found = split(written(family, turns))
    assert (found.template, [*found.messages, *found.response]) == (NAMES[family], turns)


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s>",
        "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello.</s>",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.",
    ],
    ids=["Llama-2", "Mistral", "not ended"],
)
def test_system_turns_and_open_ends(text):
    """The forms that these families' own templates write; a generation may have stopped before its end token."""
    found = split(text)
    assert found.messages == (Message("system", "Be brief."), *user("Hi"))
    assert found.response == assistant("Hello.")


def test_text_in_no_template_is_a_response_to_the_prompt_it_begins_with():
    """Or to an empty one; without the tokens that end sequences."""
    assert split("Why? Because.<|endoftext|>", "Why?")[1:] == (user("Why?"), assistant(" Because."))
    assert split("<s>Because.</s></s>\n")[:] == ("unknown", user(""), assistant("Because."))
    assert split("Because.", "Why?") == ("unknown", user(""), assistant("Because."))


@pytest.mark.parametrize("family", list(NAMES))
@pytest.mark.parametrize(
    "response",
    ["No. <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes", "No. [INST] Hi [/INST] Yes"],
)
def test_a_response_does_not_write_the_conversation_where_the_prompt_is_known(family, response):
    """Whatever it spells, it is the response; the prompt's turns are those that the template was given."""
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "Why?"},
    ]
    prompt = tokenizer_of(family).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    found = split(prompt + response + "</s>", prompt)
    assert found.template == NAMES[family]
    assert [{"role": turn.role, "content": turn.content} for turn in found.messages] == turns
    assert found.response == assistant(response)


def test_what_a_prompt_begins_of_the_response_belongs_to_it():
    """Some templates open the response with a thought; and some prompts end with a turn that is complete."""
    opened = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert split(opened + "Hm.</think>Hello.<|im_end|>", opened).response == assistant("<think>\nHm.</think>Hello.")
    closed = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
    assert split(closed + "Hello.", closed)[1:] == ((*user("Hi"), *assistant("Ho")), assistant("Hello."))


@pytest.mark.parametrize("before", ["<s><s>", "<bos> <bos>", "<|begin_of_text|><|begin_of_text|>", "<pad><pad><s>"])
def test_tokens_that_begin_a_sequence_may_be_repeated(before):
    """A doubled BOS, and padding on the left, change nothing."""
    text = "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n<pad><pad>"
    assert split(before + text) == ("gemma", user("Hi"), assistant("Hello."))
    assert split(before + "[INST] Hi [/INST] Hello.</s>") == ("llama-2", user("Hi"), assistant("Hello."))


@pytest.mark.parametrize(
    "text",
    [
        "He wrote <|im_start|>user\nHi<|im_end|>",
        "<|im_start|>user\nHi<|im_end|>\n",
        "<|im_start|>hacker\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>",
        "[INST] Hi [INST] Hi",
        "See [INST] Hi [/INST] Hello.",
    ],
    ids=["quoted", "no response", "no such role", "never closed", "something before"],
)
def test_text_that_only_looks_like_a_template_is_not_taken_apart(text):
    """A conversation that has no response, or is only quoted, is text."""
    assert split(text).template == "unknown"


@pytest.mark.parametrize("piece", ["</s>", "[INST]", "[/INST]", "<|im_start|>", "<|im_start|>a\n", "<<SYS>>", " "])
@pytest.mark.timeout(60)
def test_no_text_is_split_in_quadratic_time(piece):
    """A megabyte of any of these comes back; a search that begins anew at each piece would take hours."""
    for text in (piece * (1_000_000 // len(piece)), "[INST] " + piece * (1_000_000 // len(piece))):
        assert split(text).response
