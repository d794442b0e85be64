"""Bodies of other protocols: what they say is checked, and keys that are not known are passed over."""

import base64
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from guerdon.domain.errors import STATUS, Invalid, ServiceError
from guerdon.domain.samples import Message, Sample, Turns, user
from guerdon.transport.errors import Refusal
from guerdon.transport.schemas import Role

Encoding = Literal["float", "base64"]
MODEL = Field(None, max_length=200, description="a model's name or alias; by default ?model= in the URL, or `default`")


class Lenient(BaseModel):
    """Frozen; an unknown key changes nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Part(Lenient):
    """A piece of a turn's content. Only text is read."""

    type: Literal["text", "input_text", "output_text"] = "text"
    text: str


class Turn(Lenient):
    """One turn of a conversation."""

    role: Role
    content: str | list[Part] | None = None

    def message(self) -> Message:
        """The turn, its parts joined."""
        return Message(self.role, joined(self.content))


def joined(content: str | Sequence[Part] | None) -> str:
    """The text of a content."""
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


def turns_of(messages: Sequence[Turn]) -> Turns:
    """The turns as the gateway knows them."""
    return tuple(turn.message() for turn in messages)


def conversation(messages: Sequence[Turn], field: str) -> Sample:
    """A conversation that ends with the response. Raises Invalid where it does not."""
    turns = turns_of(messages)
    if not turns or turns[-1].role != "assistant":
        raise Invalid(f"{field}: the last message must be the assistant's: it is what is scored", field=field)
    return Sample(messages=turns[:-1] or user(""), responses=(turns[-1:],))


def encoded(values: Sequence[float], encoding: Encoding) -> list[float] | str:
    """Numbers as JSON, or as base64 of little-endian float32."""
    if encoding == "float":
        return list(values)
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


class OpenAiError(BaseModel):
    """What went wrong, as OpenAI's servers, vLLM and SGLang put it."""

    message: str
    type: str
    param: str | None
    code: int


class OpenAiRefusal(Refusal):
    """An error of a server in OpenAI's shape."""

    error: OpenAiError

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Message, code, field and status."""
        status = STATUS[type(error)].http
        return cls(error=OpenAiError(message=error.message, type=error.code, param=error.field, code=status))
