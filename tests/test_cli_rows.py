"""Rows of users' files, as inputs of /v1/score and as output rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.cli.rows import Asked, Row, acceptable, reranked, scored, understood
from guerdon.domain.errors import Invalid, Malformed

ASK = {"role": "user", "content": "What is 2 + 2?"}
GOOD = {"role": "assistant", "content": "4"}
BAD = {"role": "assistant", "content": "5"}
MORE = {"role": "user", "content": "Sure?"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def asked(**columns):
    return understood(Row(1, columns))


def refusal(**columns):
    with pytest.raises(Invalid) as caught:
        asked(**columns)
    return caught.value


@pytest.mark.parametrize(
    ("columns", "responses", "names"),
    [
        ({"responses": ["4", "5"]}, ["4", "5"], ("responses[0]", "responses[1]")),
        ({"response": "4"}, ["4"], ("response",)),
        ({"chosen": "4", "rejected": "5"}, ["4", "5"], ("chosen", "rejected")),
    ],
)
def test_every_way_to_give_responses_becomes_one_input(columns, responses, names):
    """`responses`, `response`, and `chosen` with `rejected` are asked about alike."""
    assert asked(prompt="p", id=7, **columns) == Asked({"prompt": "p", "responses": responses}, names)


def test_only_columns_of_the_input_are_sent():
    """Other columns are nobody's business; `reference` and `principle` are the model's."""
    sent = asked(prompt="p", response="r", reference="gold", principle="be brief", topic="x", metadata=[1]).input
    assert sent == {"prompt": "p", "responses": ["r"], "reference": "gold", "principle": "be brief"}


def test_an_ignored_column_is_not_used():
    """With --ignore, a column that would be sent is only passed on."""
    row = Row(1, {"prompt": "p", "messages": [ASK], "response": "r", "reference": "gold"})
    assert understood(row, {"messages", "reference"}).input == {"prompt": "p", "responses": ["r"]}


def test_a_null_column_is_as_good_as_none():
    """A table has every column in every row, and null where there is nothing."""
    columns = {"prompt": "p", "messages": None, "response": "r", "chosen": None, "rejected": None, "reference": None}
    assert asked(**columns).input == {"prompt": "p", "responses": ["r"]}


def test_null_entries_of_turns_are_left_out():
    """A table's turns have every entry that any turn has."""
    turn = {"role": "user", "content": "p", "name": None}
    assert asked(messages=[turn], response="r").input["messages"] == [{"role": "user", "content": "p"}]


def test_the_turns_that_chosen_and_rejected_share_are_the_prompt():
    """Preference data has whole conversations; what both begin with was asked, the rest was answered."""
    sent = asked(chosen=[ASK, BAD, MORE, GOOD], rejected=[ASK, BAD, MORE, BAD]).input
    assert sent == {"messages": [ASK, BAD, MORE], "responses": [[GOOD], [BAD]]}


def test_conversations_may_part_before_the_last_turn():
    """The prompt ends where they differ first."""
    sent = asked(chosen=[ASK, GOOD, MORE, GOOD], rejected=[ASK, BAD, MORE, BAD]).input
    assert sent == {"messages": [ASK], "responses": [[GOOD, MORE, GOOD], [BAD, MORE, BAD]]}


@pytest.mark.parametrize("columns", [{"response": [ASK, GOOD]}, {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]}])
def test_the_last_turn_is_always_the_response(columns):
    """One conversation, or two that are the same, still leave something to reward."""
    sent = asked(**columns).input
    assert sent["messages"] == [ASK]
    assert all(response == [GOOD] for response in sent["responses"])


@pytest.mark.parametrize("prompt", [{"prompt": ASK["content"]}, {"prompt": [ASK]}, {"messages": [ASK]}])
def test_a_prompt_that_the_conversations_repeat_is_asked_once(prompt):
    """UltraFeedback and its kin have the prompt in a column and in `chosen` and `rejected` as well."""
    sent = asked(chosen=[ASK, GOOD], rejected=[ASK, BAD], **prompt).input
    assert sent["responses"] == [[GOOD], [BAD]]
    assert "prompt" not in sent or "messages" not in sent


def test_a_prompt_of_turns_is_what_messages_are():
    """Conversational preference data calls its list of turns `prompt`."""
    assert asked(prompt=[ASK], chosen=[GOOD], rejected=[BAD]).input == {
        "messages": [ASK],
        "responses": [[GOOD], [BAD]],
    }


@given(st.lists(st.sampled_from([ASK, GOOD, BAD, MORE]), min_size=2, max_size=6), st.data())
def test_prompt_and_response_make_up_the_conversation(chosen, data):
    """Nothing of a conversation is lost or doubled, wherever it is cut."""
    rejected = [*chosen[: data.draw(st.integers(1, len(chosen) - 1))], BAD]
    sent = asked(chosen=chosen, rejected=rejected).input
    assert [sent["messages"] + response for response in sent["responses"]] == [chosen, rejected]


@pytest.mark.parametrize(
    ("columns", "field", "words"),
    [
        ({"prompt": "p"}, "responses", "no `responses`, `response`, or `chosen` and `rejected`"),
        ({"prompt": "p", "respones": ["r"]}, "responses", "is `respones` meant as `response"),
        ({"promt": "p", "response": "r"}, "prompt", "is `promt` meant as `prompt`?"),
        ({"chosen": "a", "rejected": "b"}, "prompt", "no `prompt` or `messages`"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt", "share no opening turns"),
        ({"prompt": "p", "chosen": "a"}, "rejected", "`chosen` alone"),
        ({"prompt": "p", "response": "a", "responses": ["b"]}, "response", "leave one out with --ignore"),
        ({"prompt": "p", "messages": [ASK], "response": "a"}, "row", "either `prompt` or `messages`"),
        ({"prompt": [ASK], "messages": [ASK], "response": "a"}, "prompt", "leave one out with --ignore"),
        ({"prompt": "p", "responses": "a"}, "responses", "a list is needed"),
        ({"prompt": "p", "responses": []}, "responses", "at least 1 item"),
        ({"prompt": "p", "chosen": "a", "rejected": 7}, "rejected", "rejected"),
        ({"prompt": 7, "response": "a"}, "prompt", "valid string"),
        ({"messages": "hello", "response": [GOOD]}, "messages", "valid list"),
        ({"messages": [{"role": "usr", "content": "p"}], "response": "a"}, "messages[0].role", "'user'"),
        ({"prompt": "p", "response": [{"role": "assistant", "contnt": "a"}]}, "response", "did you mean `content`?"),
        ({}, "responses", "no `responses`"),
    ],
)
def test_a_wrong_row_says_what_is_wrong_in_its_own_words(columns, field, words):
    """The message names the row's column, not the place in a request that the user never saw."""
    error = refusal(**columns)
    assert words in error.message
    assert (error.field or "").startswith(field)
    assert "inputs[" not in error.message


def test_half_a_surrogate_pair_is_no_text():
    """No tokenizer and no request could take it."""
    with pytest.raises(Malformed, match="rejected: half of a surrogate pair"):
        asked(prompt="p", chosen="fine", rejected="\ud800")


def test_a_line_that_could_not_be_read_keeps_its_fault():
    """It is told like any other error of a row."""
    fault = Malformed("line 3 is not valid JSON")
    with pytest.raises(Malformed) as caught:
        understood(Row(3, {}, fault))
    assert caught.value is fault


def test_the_services_errors_name_the_rows_columns():
    """`inputs[4].responses[1]` of a request is `rejected` of the row."""
    told = Asked({}, ("chosen", "rejected")).told(
        {"error": {"code": "too_large", "message": "inputs[4].responses[1]: long", "field": "inputs[4].responses[1]"}}
    )
    assert told == {"error": {"code": "too_large", "message": "rejected: long", "field": "rejected"}}


def test_an_output_row_is_the_input_row_and_the_rewards():
    """In the input's order, with `std` for an ensemble, and `truncated` only where something was."""
    row = {"id": 1, "prompt": "p", "response": "r"}
    item = {"index": 0, "rewards": [0.5], "std": [0.1], "truncated": [False]}
    assert scored(row, item) == {**row, "rewards": [0.5], "std": [0.1]}
    assert scored(row, {"index": 0, "rewards": [0.5], "truncated": [True]})["truncated"] == [True]


def test_results_of_an_earlier_run_are_replaced():
    """An output can be an input: an old error does not stay on a row that is rewarded now."""
    assert scored({"prompt": "p", "error": {"code": "x"}}, {"rewards": [1.0]}) == {"prompt": "p", "rewards": [1.0]}
    assert scored({"rewards": [9.0]}, {"error": {"code": "invalid"}}) == {"error": {"code": "invalid"}}


def test_a_ranking_keeps_the_order_of_equal_rewards():
    """Best first, and as given where there is nothing to choose."""
    assert reranked({"id": 1}, {"rewards": [1.0, 3.0, 3.0, 2.0]}) == {
        "id": 1,
        "ranking": [1, 2, 3, 0],
        "best": 1,
        "rewards": [1.0, 3.0, 3.0, 2.0],
    }


@pytest.mark.parametrize("labels", [[4], [-1], [True], ["0"], 0, None])
def test_labels_must_be_indexes_of_responses(labels):
    """A label that points nowhere is refused rather than counted."""
    with pytest.raises(Invalid, match="indexes from 0 to 3"):
        acceptable({"acceptable": labels}, 4)


@given(st.dictionaries(TEXT, st.integers() | TEXT | st.none()), st.floats(allow_nan=False, allow_infinity=False))
def test_other_columns_pass_through_unchanged(columns, reward):
    """Whatever a row holds beside the results comes out as it went in."""
    passed = {key: value for key, value in columns.items() if key != "rewards"}
    out = scored(columns, {"rewards": [reward]})
    assert {key: value for key, value in out.items() if key != "rewards"} == {
        key: value
        for key, value in passed.items()
        if key not in ("std", "members", "truncated", "ranking", "best", "error")
    }
