"""What every scorer says of itself, and how its answers become outcomes."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from guerdon.domain import trace
from guerdon.domain.errors import EngineFailed, NonFinite, ServiceError
from guerdon.domain.ports import Stage
from guerdon.domain.queries import Answer
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome, Score
from guerdon.engines.tokenizer import ModelTokenizer, Tokens

T = TypeVar("T")

INLINE_CHARACTERS = 8_192
"""Text up to this length is tokenised at once; more of it, on a thread, so that the event loop stays free."""


class Scorer(Stage, Protocol):
    """A stage that gives each sample's responses one number per head. All of these are pointwise."""

    heads: tuple[str, ...]
    uses: frozenset[str]


def conversation(tokenizer: ModelTokenizer, sample: Sample) -> Tokens:
    """The sample's response in its conversation, as turns or as a chat template has written them."""
    if sample.templated is not None:
        return tokenizer.templated(sample.templated)
    return tokenizer.conversation(sample.messages, sample.responses[0])


def reads_conversations(tokenizer: ModelTokenizer) -> frozenset[str]:
    """What a scorer of whole conversations makes use of: with a chat template, what one has written."""
    return frozenset({"templated"}) if tokenizer.template == "chat" else frozenset()


async def prepared(prepare: Callable[[Sample], T], samples: Sequence[Sample]) -> list[T | ServiceError]:
    """Model inputs, one a sample; a sample that cannot be prepared gets its error and spoils no other."""
    characters = sum(map(_characters, samples))
    with trace.timed("tokenize"):
        if characters > INLINE_CHARACTERS:
            return await asyncio.to_thread(_each, prepare, samples)
        return _each(prepare, samples)


def _characters(sample: Sample) -> int:
    templated = 0 if sample.templated is None else len(sample.templated.text)
    turns = sum(len(turn.content) for turn in (*sample.messages, *sample.responses[0]))
    return len(sample.reference or "") + templated + turns


def _each(prepare: Callable[[Sample], T], samples: Sequence[Sample]) -> list[T | ServiceError]:
    made: list[T | ServiceError] = []
    for sample in samples:
        try:
            made.append(prepare(sample))
        except ServiceError as error:
            made.append(error)
    return made


def outcome(answer: Answer, heads: int, *, truncated: bool, tokens: int) -> Outcome:
    """The score of a single response from its raw numbers, one per head."""
    if isinstance(answer, ServiceError):
        return answer
    if len(answer) != heads:
        return EngineFailed(f"the model gave {len(answer)} numbers for {heads} outputs")
    values = tuple(answer.tolist())
    if not all(map(math.isfinite, values)):
        return NonFinite("the model produced a number that is not finite")
    return Score(values=(values,), truncated=(truncated,), tokens=tokens)
