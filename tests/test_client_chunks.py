"""Many inputs as several requests, and their answers as one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from guerdon_client.chunks import Bounds, blamed, chunks, joined, may_split, pieces, placed
from guerdon_client.errors import of_code
from guerdon_client.requests import encoded
from guerdon_client.results import ModelCard

inputs_of = st.lists(
    st.builds(lambda n, text: {"prompt": text, "responses": [f"{text}{i}" for i in range(n)]}, st.integers(1, 12),
              st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs"]))),
    max_size=30,
)  # fmt: skip
bounds_of = st.builds(
    lambda i, r, t, b: Bounds(inputs=i, responses=r, total_responses=t, bytes=b),
    st.integers(1, 8), st.integers(1, 8), st.integers(1, 30), st.integers(40, 600),
)  # fmt: skip


@given(inputs_of, bounds_of)
def test_requests_keep_within_bounds_and_lose_nothing(inputs, bounds):
    """Every response once, in order; a request over a bound holds one piece only."""
    made = list(chunks(pieces(inputs, bounds.responses), bounds))
    assert [(p.index, r) for chunk in made for p in chunk for r in p.body["responses"]] == [
        (index, response) for index, given_ in enumerate(inputs) for response in given_["responses"]
    ]
    for chunk in made:
        assert all(len(piece.body["responses"]) <= bounds.responses for piece in chunk)
        if len(chunk) > 1:
            assert len(chunk) <= bounds.inputs
            assert sum(len(piece.body["responses"]) for piece in chunk) <= bounds.total_responses
            assert sum(len(encoded(piece.body)) for piece in chunk) <= bounds.bytes


@given(inputs_of, bounds_of)
def test_answers_in_pieces_are_the_answer_in_one(inputs, bounds):
    """What a service says of the pieces is put together as what it would have said of the whole."""

    def said(index, given_):
        lengths = [float(len(response)) for response in given_["responses"]]
        return {"index": index, "rewards": lengths, "members": {"m": lengths}, "truncated": [False] * len(lengths)}

    whole = [said(index, given_) for index, given_ in enumerate(inputs)]
    made = chunks(pieces(inputs, bounds.responses), bounds)
    parts = [placed(piece, at, said(at, piece.body)) for chunk in made for at, piece in enumerate(chunk)]
    assert joined(parts) == whole


def test_fields_are_named_as_the_caller_knows_them():
    """In the error of an item, and in that of a whole request; a message that speaks of the field follows."""
    inputs = [{"prompt": "p", "responses": list("abcde")}, {"prompt": "q", "responses": list("abcde")}]
    chunk = list(pieces(inputs, 2))[3:5]
    told = {"index": 1, "error": {"code": "invalid", "message": "inputs[1].responses[0]: no",
                                  "field": "inputs[1].responses[0]"}}  # fmt: skip
    error = placed(chunk[1], 1, told)["error"]
    assert (error["field"], error["message"]) == ("inputs[1].responses[2]", "inputs[1].responses[2]: no")
    whole = blamed(of_code("invalid", "inputs[0].foo: unknown", field="inputs[0].foo", status=422), chunk)
    assert (whole.field, whole.message, whole.status) == ("inputs[1].foo", "inputs[1].foo: unknown", 422)
    assert type(whole) is type(of_code("invalid", ""))


def test_a_failed_piece_is_the_inputs_error():
    """Half an input's rewards are none."""
    items = [{"index": 0, "rewards": [1.0]}, {"index": 0, "error": {"code": "non_finite", "message": ""}},
             {"index": 1, "rewards": [2.0]}]  # fmt: skip
    assert [set(item) & {"rewards", "error"} for item in joined(items)] == [{"error"}, {"rewards"}]


def test_only_what_is_known_to_be_scored_one_by_one_is_split():
    """A judge of sets, an aggregation of ranks or a model that is not listed keeps its responses together."""

    def card(name, kind, *members, method="uwo"):
        return ModelCard(name=name, kind=kind, revision="", members=members, aggregation={"method": method})

    cards = {
        one.name: one
        for one in (
            card("rm", "reward_model"), card("judge", "judge"), card("fine", "ensemble", "rm", "rm"),
            card("mixed", "ensemble", "rm", "judge"), card("ranks", "ensemble", "rm", method="borda"),
        )
    }  # fmt: skip
    assert [name for name in cards if may_split(cards, name, None)] == ["rm", "fine"]
    assert not may_split(cards, "fine", {"method": "pareto"})
    assert may_split(cards, "ranks", {"method": "mean"})
    assert not may_split(cards, "nobody", None)


def test_names_of_set_wise_aggregations_are_the_services():
    """The client keeps a list of its own; it is the service's."""
    from guerdon.aggregation import SET_WISE as SERVICES
    from guerdon_client.chunks import SET_WISE

    assert SET_WISE == SERVICES
    assert all(re.fullmatch(r"[a-z_]+", name) for name in SET_WISE)
