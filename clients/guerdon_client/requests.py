"""What is sent, before anything carries it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict
from uuid import uuid4

from guerdon_client.errors import Refused
from guerdon_client.retries import Retries

Json = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]
Prompt = str | Messages
"""A conversation so far: one user turn as a string, or messages with ``role`` and ``content``."""
Response = str | Messages


class ClientOptions(TypedDict, total=False):
    """What a client is made with, beside the address."""

    api_key: str | None
    timeout_s: float
    retries: Retries
    hedge_after_s: float | None
    in_flight: int
    ca_file: str | None


class RankOptions(TypedDict, total=False):
    """What a request may ask for beside its model; what is left out is the service's to choose."""

    aggregation: Mapping[str, Any]
    on_member_failure: Literal["error", "degrade"]
    cache: Literal["read-write", "read", "write", "off"]
    seed: int


class ScoreOptions(RankOptions, total=False):
    """The same for scores."""

    detail: Literal["rewards", "members", "steps", "rationale"]
    partial: bool
    run: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the service. Its ``id`` stays the same however often it is sent."""

    path: str
    body: Json | None = None
    id: str = field(default_factory=lambda: uuid4().hex)

    def content(self) -> bytes | None:
        """The body as it is sent. Raises Refused where it is nothing that JSON can say."""
        if self.body is None:
            return None
        try:
            return encoded(self.body)
        except (TypeError, ValueError) as problem:
            raise Refused("malformed", f"this cannot be sent: {problem}") from problem


def encoded(value: Any) -> bytes:
    """JSON in UTF-8. Raises TypeError or ValueError where there is none."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    """Mappings and sequences of trainers' own kinds (OmegaConf's, numpy's) as Python's."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON knows")


def one_input(prompt: Prompt, responses: Sequence[Response], **more: Any) -> Json:
    """An input of the native API; optional fields that are None are left out."""
    key = "prompt" if isinstance(prompt, str) else "messages"
    return {key: prompt, "responses": several(responses)} | present(more)


def rerank_body(prompt: Prompt, responses: Sequence[Response], **more: Any) -> Json:
    """The body of ``/v1/rerank``."""
    key = "query" if isinstance(prompt, str) else "messages"
    return {key: prompt, "responses": several(responses)} | present(more)


def several(responses: Sequence[Response]) -> list[Response]:
    """The responses as a list. Raises TypeError for a single one, whose letters would else be taken for responses."""
    if isinstance(responses, str | bytes | Mapping):
        raise TypeError(f"responses: a list is needed, not a single {type(responses).__name__}; write [response]")
    return list(responses)


def present(values: Mapping[str, Any]) -> Json:
    """The values that are not None."""
    return {key: value for key, value in values.items() if value is not None}
