"""The recipe `rubric`: a prompt and a form of the user's own, checked before anything is asked."""

import json

import pytest
from pydantic import ValidationError

from guerdon.domain.errors import NotServable
from guerdon.domain.samples import Message
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Unparsable
from guerdon.scorers.judges.rubric import Rubric, RubricSettings
from judge_engines import Always, Scripted
from judged import FREE, HELD, cases, chat_with, longest_echo, reason_of, rubric, said, sample, text_of, vote

FORMS = {
    "default": RubricSettings(),
    "deep": RubricSettings(
        output={
            "type": "object",
            "properties": {
                "criteria": {
                    "type": "object",
                    "properties": {"facts": {"enum": ["right", "wrong"]}, "tone": {"type": "string"}},
                    "required": ["facts", "tone"],
                },
                "verdict": {"$ref": "#/$defs/verdict"},
            },
            "required": ["criteria", "verdict"],
            "$defs": {
                "verdict": {
                    "type": "object",
                    "properties": {"score": {"type": "number"}, "sure": {"type": "boolean"}},
                    "required": ["score", "sure"],
                }
            },
        },
        score="verdict.score",
        range=(0, 10),
    ),
    "open": RubricSettings(output={"type": "object"}, score="rating", range=(-1, 1)),
}


@pytest.mark.parametrize("case", cases("rubric"))
def test_a_rubric_s_score_is_a_number_within_range_in_a_verdict_that_follows_the_schema(case):
    """Anything else is a reason, which tells the place and the rule."""
    recipe = rubric(FORMS[case["form"]])
    if "error" in case:
        reason = reason_of(recipe, sample(1), case)
        assert case["error"] in reason
        assert longest_echo(case["text"], reason) <= 80
        return
    made = vote(recipe, sample(1), Scripted([said(case)]))
    assert made.scores == (case["verdict"],)
    assert isinstance(made.more["verdict"], dict)


def test_a_rubric_shows_what_its_prompt_asks_for():
    """Turns, fields of the request, the schema and the range."""
    source = (
        "=== system ===\nFrom {{ low }} to {{ high }}: {{ principle }}\n=== user ===\n"
        "{% for turn in messages %}{{ turn.role }}> {{ turn.content }};{% endfor %}"
        "{{ prompt }}|{{ response }}|{{ reference }}|{{ output }}"
    )
    recipe = rubric(RubricSettings(range=(0, 1)), source=source)
    assert recipe.uses == {"reference", "principle"}
    chat = chat_with(recipe, sample(1, reference="Canberra", principle="Be brief."), 0)
    assert chat.messages[0] == Message("system", "From 0 to 1: Be brief.")
    asked = "What is the capital of Australia?"
    start = f"user> {asked};{asked}|It is response 0.|Canberra|{{"
    assert chat.messages[1].content.startswith(start)


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("=== user ===\n{{ response }}", set()),
        ("=== user ===\n{{ response }}{% if reference %}{{ reference }}{% endif %}", {"reference"}),
        ("About {{ principle }} and {% what }\n=== user ===\n{{ response }}", set()),
        ("=== system ===\n{{ principle }}\n=== user ===\n{{ response }}", {"principle"}),
    ],
)
def test_a_rubric_uses_the_fields_that_its_prompt_shows(source, uses):
    """So that a request with another field is refused, and no field changes a score unseen."""
    assert rubric(source=source).uses == uses


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("=== user ===\n{{ respnse }}{{ response }}", "unknown variable `respnse`; did you mean `response`?"),
        ("=== user ===\n{{ xyzzy }}{{ response }}", "unknown variable `xyzzy`; known: prompt, messages"),
        ("=== user ===\n{{ prompt }}", "never shows `response`"),
        ("=== user ===\n{{ response.nothing.there }}", "mine cannot be filled"),
        ("=== user ===\n{{ response }}{{ messages[3].content }}", "mine cannot be filled"),
        ("=== user ===\n{{ response }}{% if reference %}{{ 1 / 0 }}{% endif %}", "mine cannot be filled"),
        ("=== user ===\n{{ response }}{% include 'other' %}", "mine cannot be filled"),
        ("=== user ===\n{{ response.__class__.__mro__ }}", "mine cannot be filled"),
        ("=== user ===\n{{ messages.append(response) }}", "mine cannot be filled"),
    ],
)
def test_a_rubric_s_prompt_that_cannot_be_filled_is_refused_at_the_start(source, problem):
    """Not at the first request."""
    with pytest.raises(NotServable) as raised:
        rubric(source=source)
    assert problem in str(raised.value)


def test_a_rubric_s_file_is_read_from_the_user_s_folder(tmp_path):
    """A prompt is a file."""
    file = tmp_path / "mine.jinja"
    file.write_text("Mine.\n=== user ===\nGrüße: {{ response }}\n", encoding="utf-8")
    recipe = Rubric(RubricSettings(), FREE, Prompt.read(file))
    assert text_of(chat_with(recipe, sample(1), 0)) == "Grüße: It is response 0."


def form(**properties):
    return {"type": "object", "properties": properties}


NUMBER = {"type": "number"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"output": {"type": "objekt"}}, "output['type'] is no JSON schema"),
        ({"output": form(score={"type": "number", "minimum": "low"})}, "output['properties']['score']['minimum']"),
        ({"output": form(score={"type": "string", "pattern": "("}, x=NUMBER)}, "is no JSON schema"),
        ({"output": {"type": "array", "items": NUMBER}}, "`type` is `object`"),
        ({"output": {"properties": {"score": NUMBER}}}, "`type` is `object`"),
        ({"output": form(score={"$ref": "https://example.org/score.json"})}, "refers to nothing in the schema"),
        ({"output": form(score={"$ref": "#/$defs/score"})}, "`#/$defs/score` refers to nothing"),
        ({"output": form(score={"$ref": "#score"})}, "refers to nothing"),
        ({"output": {"type": "object", "$ref": "#"}}, "refers to itself without end"),
        ({"output": form(rating=NUMBER), "score": "ratng"}, "no `ratng`; did you mean `rating`?"),
        ({"output": form(rating=NUMBER)}, "the schema has no `score`; it has rating"),
        ({"output": form(score={"type": "string"})}, "`score` is no number in the schema, but string"),
        ({"output": form(score={"type": ["string", "null"]})}, "is no number in the schema"),
        ({"output": form(verdict=form(score=NUMBER)), "score": "verdict.scor"}, "did you mean `score`?"),
        ({"output": form(verdict=form(score=NUMBER)), "score": "verdict"}, "no number in the schema, but object"),
        (
            {"output": form(score={"type": "integer", "minimum": 0, "maximum": 5})},
            "range: it is [1, 5], but `minimum` of `score` in the schema is 0",
        ),
        (
            {"output": form(v=form(score={"type": "number", "maximum": 10})), "score": "v.score", "range": (0, 5)},
            "range: it is [0, 5], but `maximum` of `v.score` in the schema is 10",
        ),
    ],
)
def test_a_rubric_s_schema_that_can_give_no_score_is_refused_at_the_start(given, problem):
    """The message says where, and what was probably meant."""
    with pytest.raises(NotServable) as raised:
        rubric(RubricSettings(**given))
    assert problem in str(raised.value)


@pytest.mark.parametrize("bounds", [{"minimum": 0, "maximum": 10.0}, {"minimum": 0}, {}])
def test_a_rubric_s_schema_and_range_may_say_the_same(bounds):
    """Or the schema leaves it to the range."""
    rubric(RubricSettings(output=form(score={"type": "number", **bounds}), range=(0, 10)))


@pytest.mark.parametrize(
    "given", [{"range": (5, 1)}, {"range": (1, 1)}, {"range": (0, float("inf"))}, {"score": ""}, {"schema": {}}]
)
def test_a_rubric_s_settings_are_checked(given):
    """A range goes up and ends; unknown keys are errors."""
    with pytest.raises(ValidationError):
        RubricSettings(**given)


@pytest.mark.parametrize(
    ("output", "score", "answer"),
    [
        (form(**{"a.b": form(score=NUMBER)}), "/a.b/score", {"a.b": {"score": 3}}),
        (form(**{"a/b~": NUMBER}), "/a~1b~0", {"a/b~": 3}),
        (form(scores={"type": "array", "items": NUMBER}), "scores.1", {"scores": [1, 3]}),
        (form(score={"type": ["number", "null"]}), "score", {"score": 3}),
        ({"type": "object"}, "any.where", {"any": {"where": 3}}),
    ],
)
def test_a_rubric_s_score_may_stand_anywhere_in_its_verdict(output, score, answer):
    """By a path of keys, or by a JSON pointer."""
    recipe = rubric(RubricSettings(output=output, score=score))
    assert vote(recipe, sample(1), Always(json.dumps(answer))).scores == (3,)


def test_texts_of_a_user_s_schema_are_bounded_where_it_does_not_say():
    """A model cannot write without end; what the user has bounded stays."""
    output = form(
        why={"type": "string"},
        short={"type": "string", "maxLength": 7},
        word={"type": "string", "enum": ["a", "b"]},
        many={"type": "array", "items": {"type": "string"}},
        score=NUMBER,
    )
    held = json.loads(
        chat_with(rubric(RubricSettings(output=output), Judging(rationale_chars=50)), sample(1), 0).schema
    )
    assert held["properties"]["why"]["maxLength"] == 50
    assert held["properties"]["many"]["items"]["maxLength"] == 50
    assert held["properties"]["short"]["maxLength"] == 7
    assert "maxLength" not in held["properties"]["word"]
    assert list(held["properties"]) == list(output["properties"])


@pytest.mark.parametrize(
    ("bounds", "score"),
    [
        ((1, 5), {"type": "integer", "enum": [1, 2, 3, 4, 5]}),
        ((-1, 1), {"type": "integer", "enum": [-1, 0, 1]}),
        ((0, 1000), {"type": "integer", "minimum": 0, "maximum": 1000}),
        ((0, 0.5), {"type": "number", "minimum": 0, "maximum": 0.5}),
    ],
)
def test_the_default_schema_of_a_rubric_follows_its_range(bounds, score):
    """Whole numbers between whole ends."""
    recipe = rubric(RubricSettings(range=bounds), HELD)
    assert json.loads(chat_with(recipe, sample(1), 0).schema)["properties"]["score"] == score
    assert recipe.floor == bounds[0]


def test_a_verdict_that_a_schema_follows_for_ever_is_a_reason():
    """A schema that contains itself meets an answer that does, too."""
    recipe = rubric(RubricSettings(output=form(score=NUMBER, more={"$ref": "#"})))
    nested = '{"score": 1, "more": ' * 250 + "{}" + "}" * 250
    with pytest.raises(Unparsable, match="nested too deep"):
        vote(recipe, sample(1), Always(nested))
    assert vote(recipe, sample(1), Always('{"score": 2, "more": {"score": 1}}')).scores == (2,)
