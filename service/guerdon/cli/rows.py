"""Reads a row of a user's file as an input of ``/v1/score``, and adds the answer to it. No I/O."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from guerdon.domain.errors import Invalid, Malformed, ServiceError
from guerdon.domain.strict import nearest
from guerdon.transport.errors import described
from guerdon.transport.json_body import invalid
from guerdon.transport.schemas import InputBody

Json = dict[str, Any]

PASSED_ON = ("prompt", "messages", "reference", "principle")
RESPONSE_COLUMNS = ("responses", "response", "chosen", "rejected")
RESULTS = (
    "rewards", "std", "members", "truncated", "members_used", "member_errors", "ranking", "best", "error",
)  # fmt: skip
"""Columns that commands write; an input's columns of these names give way to them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, counted from 1. ``fault`` says why it could not be read at all."""

    number: int
    columns: Json
    fault: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A row as the service is asked about it. ``names`` is what the row calls each of the responses."""

    input: Json
    names: tuple[str, ...]

    def told(self, item: Mapping[str, Any]) -> Json:
        """The service's answer; an error in it names the row's own columns."""
        if "error" not in item:
            return dict(item)
        error = {key: value for key, value in item["error"].items() if value is not None}
        return {"error": {key: self._own_words(value) if key != "code" else value for key, value in error.items()}}

    def texts(self) -> list[tuple[str, Any]]:
        """Everything that is sent, and what the row calls it."""
        others = [(key, value) for key, value in self.input.items() if key != "responses"]
        return [*others, *zip(self.names, self.input["responses"], strict=True)]

    def _own_words(self, text: str) -> str:
        text = re.sub(r"\binputs\[\d+\]\.", "", text)
        return re.sub(r"\bresponses\[(\d+)\]", lambda found: self._name(int(found[1])), text)

    def _name(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else f"responses[{index}]"


Understand = Callable[[Row], Asked]
"""Raises ServiceError for a row that cannot be asked about."""


def understood(row: Row, ignored: Collection[str] = ()) -> Asked:
    """What to ask about the row, not looking at the ``ignored`` columns. Raises ServiceError."""
    if row.fault is not None:
        raise row.fault
    columns = {key: value for key, value in row.columns.items() if value is not None and key not in ignored}
    names, responses = _responses(columns)
    conversation = {key: _turns(columns[key]) for key in PASSED_ON if key in columns}
    if isinstance(conversation.get("prompt"), list):
        conversation = _renamed(conversation)
    shared = _shared_turns(conversation, responses)
    if not {"prompt", "messages"} & conversation.keys():
        if not shared:
            raise _no_prompt(columns, names)
        conversation["messages"] = responses[0][:shared]
    own = [response[shared:] for response in responses] if shared else responses
    asked = Asked({**conversation, "responses": own}, names)
    _check(asked)
    return asked


def scored(row: Mapping[str, Any], item: Mapping[str, Any]) -> Json:
    """The row as `guerdon score` writes it."""
    passed = {key: value for key, value in row.items() if key not in RESULTS}
    if "error" in item:
        return {**passed, "error": item["error"]}
    told = {key: item[key] for key in ("rewards", "std", "members") if item.get(key) is not None}
    if any(item.get("truncated") or ()):
        told["truncated"] = item["truncated"]
    return {**passed, **told, **_degraded(item)}


def reranked(row: Mapping[str, Any], item: Mapping[str, Any]) -> Json:
    """The row as `guerdon rerank` writes it. Equal rewards keep the order of the responses."""
    passed = {key: value for key, value in row.items() if key not in RESULTS}
    if "error" in item:
        return {**passed, "error": item["error"]}
    rewards = item["rewards"]
    ranking = sorted(range(len(rewards)), key=lambda index: -rewards[index])
    return {**passed, "ranking": ranking, "best": ranking[0], "rewards": rewards, **_degraded(item)}


def _degraded(item: Mapping[str, Any]) -> Json:
    """Who is missing from which rewards, and why; nothing where nobody is."""
    if not item.get("member_errors"):
        return {}
    return {"members_used": item["members_used"], "member_errors": item["member_errors"]}


def acceptable(columns: Mapping[str, Any], responses: int) -> frozenset[int]:
    """Which responses are labelled as acceptable. Raises Invalid."""
    labels = columns.get("acceptable")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < responses for label in labels):
        raise Invalid(
            f"acceptable: a list of indexes from 0 to {responses - 1} is needed"
            if "acceptable" in columns
            else "acceptable: the row has no such column, nor `chosen` and `rejected`",
            field="acceptable",
        )
    return frozenset(labels)


def _responses(columns: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
    """What the row calls its responses, and the responses."""
    present = [key for key in RESPONSE_COLUMNS if key in columns]
    match present:
        case ["responses"]:
            responses = columns["responses"]
            if not isinstance(responses, list):
                raise Invalid("responses: a list is needed (a single one goes into `response`)", field="responses")
            return tuple(f"responses[{index}]" for index in range(len(responses))), _all_turns(responses)
        case ["response"] | ["chosen", "rejected"]:
            return tuple(present), _all_turns([columns[key] for key in present])
        case ["chosen"] | ["rejected"]:
            missing = "rejected" if present == ["chosen"] else "chosen"
            raise Invalid(f"{missing}: the row has `{present[0]}` alone", field=missing)
        case []:
            raise Invalid(
                f"responses: the row has no `responses`, `response`, or `chosen` and `rejected`{_near(columns)}",
                field="responses",
            )
        case _:
            raise Invalid(
                f"{present[-1]}: the row has {', '.join(f'`{key}`' for key in present)}; leave one out with --ignore",
                field=present[-1],
            )


def _shared_turns(conversation: Mapping[str, Any], responses: Sequence[Any]) -> int:
    """How many turns that all responses begin with are the conversation, not the response.

    Preference data often has whole conversations as `chosen` and `rejected`, with or without
    the prompt in a column of its own. Of each, at least the last turn is the response.
    """
    if not responses or not all(isinstance(response, list) and response for response in responses):
        return 0
    most = min(len(response) for response in responses) - 1
    told = conversation.get("messages")
    if told is None and isinstance(conversation.get("prompt"), str):
        told = [{"role": "user", "content": conversation["prompt"]}]
    if told is not None:
        length = len(told) if isinstance(told, list) else most + 1
        return length if length <= most and all(each[:length] == told for each in responses) else 0
    same = (all(other[at] == responses[0][at] for other in responses) for at in range(most))
    return next((at for at, equal in enumerate(same) if not equal), most)


def _renamed(conversation: Json) -> Json:
    """A prompt that is a list of turns is what we call `messages`. Raises Invalid where both are there."""
    if "messages" in conversation:
        raise Invalid("prompt: the row has `messages` as well; leave one out with --ignore", field="prompt")
    return {"messages" if key == "prompt" else key: value for key, value in conversation.items()}


def _all_turns(values: Sequence[Any]) -> list[Any]:
    return [_turns(value) for value in values]


def _turns(value: Any) -> Any:
    """Turns without their empty entries: a table has every column in every row."""
    if not isinstance(value, list):
        return value
    return [
        {key: entry for key, entry in turn.items() if entry is not None} if isinstance(turn, dict) else turn
        for turn in value
    ]


def _no_prompt(columns: Mapping[str, Any], names: Sequence[str]) -> Invalid:
    if all(isinstance(columns.get(name), list) for name in names):
        return Invalid(
            f"prompt: the row has no `prompt` or `messages`, and {' and '.join(names)} share no opening turns",
            field="prompt",
        )
    return Invalid(f"prompt: the row has no `prompt` or `messages`{_near(columns)}", field="prompt")


def _near(columns: Mapping[str, Any]) -> str:
    """A guess at what was meant."""
    known = (*PASSED_ON, *RESPONSE_COLUMNS)
    for column in columns:
        if column not in known and (near := nearest(column, known)):
            return f"; is `{column}` meant as `{near}`?"
    return f"; it has {', '.join(list(columns)[:10])}" if columns else ""


def _check(asked: Asked) -> None:
    """Raises Invalid or Malformed in the row's own words."""
    try:
        InputBody.model_validate(asked.input)
    except ValidationError as error:
        words = asked.told({"error": described(invalid(error, whole="row"))})["error"]
        raise Invalid(words["message"], field=words["field"]) from error
    for name, text in asked.texts():
        try:
            orjson.dumps(text)
        except TypeError as error:
            raise Malformed(f"{name}: half of a surrogate pair, which is no text", field=name) from error
