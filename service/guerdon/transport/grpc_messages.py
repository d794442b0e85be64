"""Native requests and answers between protobuf and the JSON that they mirror."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import ListValue, Struct

from guerdon.domain.errors import Malformed
from guerdon.transport.native import Json
from guerdon_client.stubs.guerdon.v1.answers_pb2 import (
    CompareResponse,
    ListModelsResponse,
    RerankResponse,
    ScoreResponse,
)
from guerdon_client.stubs.guerdon.v1.requests_pb2 import Names, Pair, Response

M = TypeVar("M", bound=Message)
NEVER_LEFT_OUT = ("inputs", "responses", "role", "content")
"""Fields that JSON must have: empty in protobuf, they are there and empty, whatever that is worth."""


def read(raw: bytes, kind: type[M]) -> M:
    """The message. Raises Malformed."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise Malformed(f"these bytes are no {kind.DESCRIPTOR.full_name}") from error


def body_of(message: Message) -> Json:
    """What the message says, as a JSON body would."""
    body = {field.name: _plain(value) for field, value in message.ListFields()}
    known = type(message).DESCRIPTOR.fields_by_name
    for name in NEVER_LEFT_OUT:
        if name in known and name not in body:
            body[name] = _plain(getattr(message, name))
    return body


def _plain(value: Any) -> Any:
    match value:
        case str():
            return value
        case Message():
            return _plain_message(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
    return value


def _plain_message(value: Message) -> Any:
    match value:
        case Response():
            return value.text if value.WhichOneof("kind") == "text" else _turns(value)
        case Names():
            return list(value.names)
        case Pair():
            return [value.first, value.second]
        case Struct():
            return {}  # metadata: it changes nothing
    return body_of(value)


def _turns(response: Response) -> list[Json] | None:
    """None where the message says nothing at all."""
    return [body_of(turn) for turn in response.turns.messages] if response.HasField("turns") else None


def score_response(answer: Json) -> ScoreResponse:
    """The answer of ``/v1/score``."""
    return ScoreResponse(**{**_common(answer), "data": [_scored(item) for item in answer["data"]]})


def rerank_response(answer: Json) -> RerankResponse:
    """The answer of ``/v1/rerank``."""
    return RerankResponse(**{**_common(answer), **_judges(answer)})


def compare_response(answer: Json) -> CompareResponse:
    """The answer of ``/v1/compare``."""
    return CompareResponse(**{**_common(answer), "data": [_compared(item) for item in answer["data"]]})


def models_response(answer: Json) -> ListModelsResponse:
    """The answer of ``/v1/models``."""
    return ListModelsResponse(object=answer["object"], data=[_common(card) for card in answer["data"]])


def _common(answer: Json) -> Json:
    """With lists of names, where an aggregation has groups, as messages."""
    how = answer.get("aggregation", {})
    if "groups" not in how:
        return answer
    groups = {name: {"names": members} for name, members in how["groups"].items()}
    return {**answer, "aggregation": {**how, "groups": groups}}


def _scored(item: Json) -> Json:
    changed: Json = {
        key: {name: {"scores": [{"value": score} for score in scores]} for name, scores in item[key].items()}
        for key in ("members", "members_raw")
        if key in item
    }
    return {**item, **changed, **_used(item), **_judges(item)}


def _compared(item: Json) -> Json:
    changed: Json = {}
    if "pairs" in item:
        changed["pairs"] = [{"first": first, "second": second} for first, second in item["pairs"]]
    if "strength" in item:
        changed["strength"] = [strength or {} for strength in item["strength"]]
    return {**item, **changed, **_used(item), **_judges(item)}


def _judges(item: Json) -> Json:
    """Reports are JSON here, too: what is in them is each recipe's own."""
    return {
        key: {name: ParseDict(reports, ListValue()) for name, reports in item[key].items()}
        for key in ("judges", "steps")
        if key in item
    }


def _used(item: Json) -> Json:
    used: Iterable[list[str]] = item.get("members_used", ())
    return {"members_used": [{"names": names} for names in used]}
