"""Asks a running service over gRPC in the words of HTTP, so that one test speaks of both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import ListValue
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from guerdon.domain.errors import BY_CODE, STATUS
from guerdon_client.stubs.guerdon.v1 import answers_pb2, requests_pb2
from guerdon_client.stubs.guerdon.v1.reward_service_pb2_grpc import RewardServiceStub

CALLS = {
    "/v1/score": ("Score", requests_pb2.ScoreRequest),
    "/v1/rerank": ("Rerank", requests_pb2.RerankRequest),
    "/v1/compare": ("Compare", requests_pb2.CompareRequest),
}
UNBOUNDED = [("grpc.max_receive_message_length", -1)]


class Inexpressible(Exception):
    """A JSON body that has no counterpart in protobuf."""


@dataclass
class Answer:
    """What a test reads of an HTTP answer."""

    status_code: int
    body: dict
    headers: dict = field(default_factory=dict)

    def json(self):
        return self.body

    @property
    def text(self):
        return json.dumps(self.body)

    @property
    def content(self):
        return self.text.encode()


class OverGrpc:
    """A service at ``address``. ``post`` and ``get`` take and give what they do over HTTP."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=UNBOUNDED)
        self._stub = RewardServiceStub(self.channel)

    def post(self, path, body, headers=None):
        name, _ = CALLS[path]
        return self._answer(getattr(self._stub, name), message_of(path, body), headers or {})

    @staticmethod
    def expresses(path, body):
        """Whether the body can be said in protobuf."""
        return expressible(path, body)

    def get(self, path):
        assert path == "/v1/models"
        return self._answer(self._stub.ListModels, requests_pb2.ListModelsRequest(), {})

    def _answer(self, method, message, headers):
        metadata = [(key.lower(), value) for key, value in headers.items()]
        try:
            answer, call = method.with_call(message, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            return refusal(error)
        return Answer(200, json_of(answer), dict(call.trailing_metadata()))


def expressible(path, body):
    """Whether the body can be said in protobuf."""
    try:
        message_of(path, body)
    except Inexpressible:
        return False
    return True


def message_of(path, body):
    """The JSON body as a message. Raises Inexpressible."""
    try:
        if path == "/v1/rerank":
            renamed = {**body, "responses": body["responses"] if "responses" in body else body["documents"]}
            renamed.pop("documents", None)
            changed = _conversation(renamed)
        else:
            changed = {**body, "inputs": [_conversation(item) for item in body["inputs"]]}
        if "aggregation" in changed:
            changed["aggregation"] = _aggregation(changed["aggregation"])
        return ParseDict(changed, CALLS[path][1]())
    except (ParseError, KeyError, TypeError, AttributeError) as error:
        raise Inexpressible(body) from error


def _conversation(item):
    changed = {**item, "responses": [_response(response) for response in item["responses"]]}
    if item.get("messages") == []:
        raise Inexpressible(item)
    if "messages" in item:
        changed["messages"] = [_turn(turn) for turn in item["messages"]]
    if "pairs" in item:
        changed["pairs"] = [{"first": first, "second": second} for first, second in _pairs(item["pairs"])]
    return changed


def _pairs(pairs):
    if any(len(pair) != 2 for pair in pairs):
        raise Inexpressible(pairs)
    return pairs


def _response(response):
    if isinstance(response, list):
        return {"turns": {"messages": [_turn(turn) for turn in response]}}
    return response if isinstance(response, dict) else {"text": _text(response)}


def _turn(turn):
    content = turn["content"]
    return {**turn, "content": "".join(part["text"] for part in content) if isinstance(content, list) else content}


def _text(value):
    if not isinstance(value, str):
        raise Inexpressible(value)
    return value


def _aggregation(how):
    for numbers in ("weights", "caps"):
        if any(isinstance(value, str) for value in how.get(numbers, {}).values()):
            raise Inexpressible(how)
    if "groups" not in how:
        return how
    return {**how, "groups": {name: {"names": members} for name, members in how["groups"].items()}}


def json_of(message):
    """The message as the JSON answer that it stands for: what is not there, and empty lists, left out."""
    match message:
        case requests_pb2.Names():
            return list(message.names)
        case requests_pb2.Pair():
            return [message.first, message.second]
        case answers_pb2.MemberScores():
            return [score.value if score.HasField("value") else None for score in message.scores]
        case answers_pb2.Strength() if not message.ListFields():
            return None
        case ListValue():
            return MessageToDict(message)
    return {
        name: _plain(getattr(message, name))
        for name, field in message.DESCRIPTOR.fields_by_name.items()
        if (message.HasField(name) if field.has_presence else not field.is_repeated or getattr(message, name))
    }


def _plain(value):
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return json_of(value) if hasattr(value, "DESCRIPTOR") else [_plain(item) for item in value]


def without_empty(value):
    """A JSON answer less its empty lists and nulls, which protobuf has no words for, but for those in lists."""
    if isinstance(value, dict):
        kept = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ([], None)}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def refusal(error):
    """The error as HTTP tells it: its status, body and headers."""
    found = details(error)
    reason = found[ErrorInfo].reason
    body = {"code": reason, "message": error.details()}
    if BadRequest in found:
        body["field"] = found[BadRequest].field_violations[0].field
    headers = dict(error.trailing_metadata())
    if RetryInfo in found:
        headers["retry-after"] = str(found[RetryInfo].retry_delay.seconds)
    return Answer(STATUS[BY_CODE[reason]].http, {"error": body}, headers)


def details(error):
    """The rich details of an error by kind."""
    found = {}
    for packed in rpc_status.from_call(error).details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                found[kind] = kind()
                packed.Unpack(found[kind])
    return found
