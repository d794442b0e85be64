from google.protobuf import struct_pb2 as _struct_pb2
from guerdon_client.stubs.guerdon.v1 import requests_pb2 as _requests_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Error(_message.Message):
    __slots__ = ("code", "message", "field")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    field: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class ResponseError(_message.Message):
    __slots__ = ("response", "code", "message", "field")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    response: int
    code: str
    message: str
    field: str
    def __init__(self, response: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class MemberError(_message.Message):
    __slots__ = ("response", "member", "code", "message", "field")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    response: int
    member: str
    code: str
    message: str
    field: str
    def __init__(self, response: _Optional[int] = ..., member: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class MemberScore(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class MemberScores(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[MemberScore]
    def __init__(self, scores: _Optional[_Iterable[_Union[MemberScore, _Mapping]]] = ...) -> None: ...

class ScoredInput(_message.Message):
    __slots__ = ("index", "rewards", "std", "members", "members_raw", "members_used", "member_errors", "truncated", "kept", "errors", "error", "judges", "steps")
    class MembersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: MemberScores
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[MemberScores, _Mapping]] = ...) -> None: ...
    class MembersRawEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: MemberScores
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[MemberScores, _Mapping]] = ...) -> None: ...
    class JudgesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    class StepsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REWARDS_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_RAW_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_USED_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ERRORS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    index: int
    rewards: _containers.RepeatedScalarFieldContainer[float]
    std: _containers.RepeatedScalarFieldContainer[float]
    members: _containers.MessageMap[str, MemberScores]
    members_raw: _containers.MessageMap[str, MemberScores]
    members_used: _containers.RepeatedCompositeFieldContainer[_requests_pb2.Names]
    member_errors: _containers.RepeatedCompositeFieldContainer[MemberError]
    truncated: _containers.RepeatedScalarFieldContainer[bool]
    kept: _containers.RepeatedScalarFieldContainer[int]
    errors: _containers.RepeatedCompositeFieldContainer[ResponseError]
    error: Error
    judges: _containers.MessageMap[str, _struct_pb2.ListValue]
    steps: _containers.MessageMap[str, _struct_pb2.ListValue]
    def __init__(self, index: _Optional[int] = ..., rewards: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ..., members: _Optional[_Mapping[str, MemberScores]] = ..., members_raw: _Optional[_Mapping[str, MemberScores]] = ..., members_used: _Optional[_Iterable[_Union[_requests_pb2.Names, _Mapping]]] = ..., member_errors: _Optional[_Iterable[_Union[MemberError, _Mapping]]] = ..., truncated: _Optional[_Iterable[bool]] = ..., kept: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[ResponseError, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., judges: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ..., steps: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("responses", "cached", "tokens", "tokens_computed")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_COMPUTED_FIELD_NUMBER: _ClassVar[int]
    responses: int
    cached: int
    tokens: int
    tokens_computed: int
    def __init__(self, responses: _Optional[int] = ..., cached: _Optional[int] = ..., tokens: _Optional[int] = ..., tokens_computed: _Optional[int] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("id", "model", "revision", "data", "aggregation", "usage")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    revision: str
    data: _containers.RepeatedCompositeFieldContainer[ScoredInput]
    aggregation: _requests_pb2.Aggregation
    usage: Usage
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., data: _Optional[_Iterable[_Union[ScoredInput, _Mapping]]] = ..., aggregation: _Optional[_Union[_requests_pb2.Aggregation, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("text", "messages")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    text: str
    messages: _containers.RepeatedCompositeFieldContainer[_requests_pb2.Message]
    def __init__(self, text: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_requests_pb2.Message, _Mapping]]] = ...) -> None: ...

class RerankResult(_message.Message):
    __slots__ = ("index", "relevance_score", "std", "members", "members_used", "truncated", "document")
    class MembersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_SCORE_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_USED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    index: int
    relevance_score: float
    std: float
    members: _containers.ScalarMap[str, float]
    members_used: _containers.RepeatedScalarFieldContainer[str]
    truncated: bool
    document: Document
    def __init__(self, index: _Optional[int] = ..., relevance_score: _Optional[float] = ..., std: _Optional[float] = ..., members: _Optional[_Mapping[str, float]] = ..., members_used: _Optional[_Iterable[str]] = ..., truncated: _Optional[bool] = ..., document: _Optional[_Union[Document, _Mapping]] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("id", "model", "revision", "results", "errors", "member_errors", "aggregation", "usage", "judges")
    class JudgesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ERRORS_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    revision: str
    results: _containers.RepeatedCompositeFieldContainer[RerankResult]
    errors: _containers.RepeatedCompositeFieldContainer[ResponseError]
    member_errors: _containers.RepeatedCompositeFieldContainer[MemberError]
    aggregation: _requests_pb2.Aggregation
    usage: Usage
    judges: _containers.MessageMap[str, _struct_pb2.ListValue]
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., results: _Optional[_Iterable[_Union[RerankResult, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[ResponseError, _Mapping]]] = ..., member_errors: _Optional[_Iterable[_Union[MemberError, _Mapping]]] = ..., aggregation: _Optional[_Union[_requests_pb2.Aggregation, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., judges: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ...) -> None: ...

class Strength(_message.Message):
    __slots__ = ("mean", "std", "agreement")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    mean: float
    std: float
    agreement: float
    def __init__(self, mean: _Optional[float] = ..., std: _Optional[float] = ..., agreement: _Optional[float] = ...) -> None: ...

class ComparedInput(_message.Message):
    __slots__ = ("index", "pairs", "probability", "win_rate", "rewards", "strength", "members_used", "member_errors", "error", "judges")
    class JudgesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    WIN_RATE_FIELD_NUMBER: _ClassVar[int]
    REWARDS_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_USED_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    index: int
    pairs: _containers.RepeatedCompositeFieldContainer[_requests_pb2.Pair]
    probability: _containers.RepeatedScalarFieldContainer[float]
    win_rate: _containers.RepeatedScalarFieldContainer[float]
    rewards: _containers.RepeatedScalarFieldContainer[float]
    strength: _containers.RepeatedCompositeFieldContainer[Strength]
    members_used: _containers.RepeatedCompositeFieldContainer[_requests_pb2.Names]
    member_errors: _containers.RepeatedCompositeFieldContainer[MemberError]
    error: Error
    judges: _containers.MessageMap[str, _struct_pb2.ListValue]
    def __init__(self, index: _Optional[int] = ..., pairs: _Optional[_Iterable[_Union[_requests_pb2.Pair, _Mapping]]] = ..., probability: _Optional[_Iterable[float]] = ..., win_rate: _Optional[_Iterable[float]] = ..., rewards: _Optional[_Iterable[float]] = ..., strength: _Optional[_Iterable[_Union[Strength, _Mapping]]] = ..., members_used: _Optional[_Iterable[_Union[_requests_pb2.Names, _Mapping]]] = ..., member_errors: _Optional[_Iterable[_Union[MemberError, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., judges: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("id", "model", "revision", "data", "aggregation", "usage")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    revision: str
    data: _containers.RepeatedCompositeFieldContainer[ComparedInput]
    aggregation: _requests_pb2.Aggregation
    usage: Usage
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., data: _Optional[_Iterable[_Union[ComparedInput, _Mapping]]] = ..., aggregation: _Optional[_Union[_requests_pb2.Aggregation, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class ModelLimits(_message.Message):
    __slots__ = ("max_tokens", "max_inputs", "max_responses")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_INPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSES_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    max_inputs: int
    max_responses: int
    def __init__(self, max_tokens: _Optional[int] = ..., max_inputs: _Optional[int] = ..., max_responses: _Optional[int] = ...) -> None: ...

class ModelCard(_message.Message):
    __slots__ = ("id", "object", "created", "owned_by", "kind", "revision", "members", "aggregation", "uses", "limits")
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    OWNED_BY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    created: int
    owned_by: str
    kind: str
    revision: str
    members: _containers.RepeatedScalarFieldContainer[str]
    aggregation: _requests_pb2.Aggregation
    uses: _containers.RepeatedScalarFieldContainer[str]
    limits: ModelLimits
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., created: _Optional[int] = ..., owned_by: _Optional[str] = ..., kind: _Optional[str] = ..., revision: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., aggregation: _Optional[_Union[_requests_pb2.Aggregation, _Mapping]] = ..., uses: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[ModelLimits, _Mapping]] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("object", "data")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    object: str
    data: _containers.RepeatedCompositeFieldContainer[ModelCard]
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[ModelCard, _Mapping]]] = ...) -> None: ...
