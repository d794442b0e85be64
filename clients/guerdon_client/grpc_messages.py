"""Requests and answers between their JSON and the protobuf that mirrors it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

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

METHODS: Mapping[str, tuple[str, Callable[..., Message]]] = {
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
        return name, kind(**_sent(body or {}))
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise Refused("invalid", f"this cannot be said in protobuf: {problem}") from problem


def _sent(body: Json) -> Json:
    """With a message wherever JSON has a list of lists, or one of two shapes."""
    changed = {key: value for key, value in body.items() if value is not None and key != "metadata"}
    if "inputs" in changed:
        changed["inputs"] = [_sent(item) for item in changed["inputs"]]
    if "responses" in changed:
        changed["responses"] = [_response(response) for response in changed["responses"]]
    if "messages" in changed:
        changed["messages"] = [_turn(turn) for turn in changed["messages"]]
    if "pairs" in changed:
        changed["pairs"] = [{"first": first, "second": second} for first, second in changed["pairs"]]
    groups = changed.get("aggregation", {}).get("groups")
    if groups is not None:
        named = {name: {"names": list(members)} for name, members in groups.items()}
        changed["aggregation"] = {**changed["aggregation"], "groups": named}
    return changed


def _response(response: Any) -> Json:
    if isinstance(response, str):
        return {"text": response}
    return {"turns": {"messages": [_turn(turn) for turn in response]}}


def _turn(turn: Mapping[str, Any]) -> Json:
    content = turn["content"]
    if isinstance(content, str):
        return dict(turn)
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
            return answer_of(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
    raise TypeError(type(value))
