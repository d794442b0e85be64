"""What a generative model is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from guerdon.domain.samples import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation to go on with.

    The answer is held to one of ``choices``, or to a JSON ``schema`` (as JSON text), where the engine can do so; at
    most one of them. ``alternatives`` is how many log-probabilities of the answer's first token are wanted, at most
    20.
    """

    messages: Turns
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    schema: str = ""
    alternatives: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a generative model wrote.

    ``reasoning`` is what it thought before, where its engine keeps that apart. ``finish`` is "length" where it was
    cut. ``first`` are natural log-probabilities of the first token's alternatives, by their text; empty where none
    were asked for or the engine gives none.
    """

    text: str
    reasoning: str = ""
    finish: Literal["stop", "length"] = "stop"
    first: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    prompt_tokens: int = 0
    completion_tokens: int = 0
