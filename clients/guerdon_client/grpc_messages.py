"""Requests and answers between their JSON and the protobuf that mirrors it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue

from guerdon_client.errors import Refused
from guerdon_client.requests import Json
from guerdon_client.stubs.guerdon.v1.answers_pb2 import MemberScores, Strength
from guerdon_client.stubs.guerdon.v1.requests_pb2 import (
    CompareRequest,
    ListModelsRequest,
    Names,
    Pair,
    RerankRequest,
    ScoreRequest,
)
from guerdon_client.words import meant

METHODS: Mapping[str, tuple[str, type[Message]]] = {
    "/v1/score": ("Score", ScoreRequest),
    "/v1/rerank": ("Rerank", RerankRequest),
    "/v1/compare": ("Compare", CompareRequest),
    "/v1/models": ("ListModels", ListModelsRequest),
}
"""What the native paths are called, and what they are asked with."""


def call_of(path: str, body: Json | None) -> tuple[str, Message]:
    """The method and its message. Raises Refused for what is served over HTTP only, or cannot be said in protobuf."""
    if path not in METHODS:
        raise Refused("unknown_route", f"{path} is served over HTTP only")
    name, kind = METHODS[path]
    try:
        sent = _sent(body or {})
        _checked(sent, kind.DESCRIPTOR, "")
        return name, kind(**sent)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise Refused("invalid", f"this cannot be said in protobuf: {problem}") from problem


def _checked(body: Json, known: Any, within: str) -> None:
    """Raises Refused at the first field that the message has not."""
    fields = known.fields_by_name
    for key, value in body.items():
        if key not in fields:
            raise _refused(f"{within}{key}", f"there is no such field; {meant(key, fields)}")
        inner = fields[key].message_type
        if fields[key].type == FieldDescriptor.TYPE_STRING and not isinstance(value, str):
            raise _refused(f"{within}{key}", f"text is needed, not {type(value).__name__}")
        if inner is None or inner.GetOptions().map_entry:
            continue
        if isinstance(value, Mapping):
            _checked(dict(value), inner, f"{within}{key}.")
        elif isinstance(value, list):
            for at, item in enumerate(value):
                _checked(item, inner, f"{within}{key}[{at}].")


def _refused(field: str, message: str) -> Refused:
    field = field.replace(".turns.messages[", "[")  # a response's messages stand in no field of JSON's
    return Refused("invalid", f"{field}: {message}", field=field)


def _sent(body: Json, within: str = "") -> Json:
    """With a message wherever JSON has a list of lists, or one of two shapes. ``within`` is where the body stands."""
    if not isinstance(body, Mapping):
        raise _refused(within.removesuffix("."), f"an object is needed, not {type(body).__name__}")
    changed = {key: value for key, value in body.items() if value is not None and key != "metadata"}
    for key, sent in (("inputs", _input), ("responses", _response), ("messages", _turn)):
        if key in changed:
            changed[key] = [sent(item, f"{within}{key}[{at}]") for at, item in enumerate(_list(changed, key, within))]
    if "pairs" in changed:
        changed["pairs"] = [{"first": first, "second": second} for first, second in changed["pairs"]]
    groups = changed.get("aggregation", {}).get("groups")
    if groups is not None:
        named = {name: {"names": list(members)} for name, members in groups.items()}
        changed["aggregation"] = {**changed["aggregation"], "groups": named}
    return changed


def _list(body: Json, key: str, within: str) -> Iterable[Any]:
    if isinstance(body[key], str | bytes | Mapping) or not isinstance(body[key], Iterable):
        raise _refused(f"{within}{key}", f"a list is needed, not {type(body[key]).__name__}")
    listed: Iterable[Any] = body[key]
    return listed


def _input(given: Json, place: str) -> Json:
    return _sent(given, f"{place}.")


def _response(response: Any, place: str) -> Json:
    if isinstance(response, str):
        return {"text": response}
    if isinstance(response, bytes | Mapping) or not isinstance(response, Iterable):
        raise _refused(place, f"text or a list of messages is needed, not {type(response).__name__}")
    return {"turns": {"messages": [_turn(turn, f"{place}[{at}]") for at, turn in enumerate(response)]}}


def _turn(turn: Any, place: str) -> Json:
    if not isinstance(turn, Mapping):
        raise _refused(place, f"a message is needed, not {type(turn).__name__}")
    content = turn.get("content")
    if isinstance(content, str):
        return dict(turn)
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) and "text" in part for part in content):
        raise _refused(f"{place}.content", "text, or a list of parts with a text, is needed")
    return {**turn, "content": "".join(part["text"] for part in content)}


def answer_of(message: Message) -> Json:
    """The answer as JSON has it; lists that are empty are left out."""
    known = type(message).DESCRIPTOR.fields
    return {field.name: _plain(getattr(message, field.name)) for field in known if _said(message, field)}


def _said(message: Message, field: Any) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    return not field.is_repeated or len(getattr(message, field.name)) > 0


def _plain(value: Any) -> Any:
    match value:
        case str() | int() | float():
            return value
        case Names():
            return list(value.names)
        case Pair():
            return [value.first, value.second]
        case MemberScores():
            return [score.value if score.HasField("value") else None for score in value.scores]
        case Strength() if not value.ListFields():
            return None
        case Message():
            return _report(MessageToDict(value)) if isinstance(value, ListValue) else answer_of(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
    raise TypeError(type(value))


COUNTS = ("responses", "response", "votes", "valid", "kept", "prompt_tokens", "completion_tokens")
"""What a report counts, where protobuf's JSON knows numbers only."""


def _report(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _report(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_report(item, key) for item in value]
    return int(value) if key in COUNTS and isinstance(value, float) else value
