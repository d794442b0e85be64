"""Scores relevance, length and repetition: R3, "Rethinking the Role of Proxy Rewards" (ACL 2024)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import model_validator

from guerdon.domain.errors import ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.samples import Sample, plain_text
from guerdon.domain.scores import Outcome
from guerdon.domain.strict import Strict
from guerdon.engines.tokenizer import ModelTokenizer, Tokens
from guerdon.scorers.embedding import Embedder, all_texts, states_of
from guerdon.scorers.heads import Layers
from guerdon.scorers.scorer import outcome, prepared

WORDS_PER_UNIT = 100
MAX_RESPONSE_WORDS = 512
CONSTRAINED_TOP = MAX_RESPONSE_WORDS / WORDS_PER_UNIT
"""What the best constrained response gets: as much as an open-ended one of 512 words and relevance 1."""

_WORD = re.compile(r"\w+|[^\w\s]+")
_END_OF_RESPONSE = re.compile(
    r"\n+(?:human|user|question|assistant|system|answer)\s*:|\n{4}|\n\n--|\n\n____", re.IGNORECASE
)


class RelevanceRange(Strict):
    """The backbone's dot products that mean "not relevant" and "fully relevant".

    The paper's range for facebook/contriever is 0 to 3.5; another backbone needs its own.
    """

    low: float = 0.0
    high: float = 3.5

    @model_validator(mode="after")
    def _rises(self) -> "RelevanceRange":
        if self.high <= self.low:
            raise ValueError("`high` must be above `low`")
        return self


class Relevance:
    """One number: with a reference the constrained branch, without one the open-ended.

    open-ended:   LI * QR * RP          length incentive, relevance to the prompt, repetition penalty
    constrained:  interp(RAR) * RP      relevance to the reference, from the backbone's range to 0 .. 5.12
    """

    uses: frozenset[str] = frozenset({"reference"})
    heads: tuple[str, ...] = ("relevance",)

    def __init__(self, engine: Engine, tokenizer: ModelTokenizer, dot_range: RelevanceRange) -> None:
        self._tokenizer, self._range = tokenizer, dot_range
        self._embedder = Embedder(engine, (-1,), "mean")

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample; each sample has one response."""
        read = await prepared(self._read, samples)
        texts = [item if isinstance(item, ServiceError) else item.texts for item in read]
        layers = await self._embedder.embed(all_texts(texts), deadline)
        return [self._outcome(item, states_of(text, layers)) for item, text in zip(read, texts, strict=True)]

    def _read(self, sample: Sample) -> "_Read":
        """Everything about the sample that needs no model."""
        wanted = plain_text(sample.messages) if sample.reference is None else sample.reference
        response = cut_response(plain_text(sample.responses[0]))
        words = _WORD.findall(response)
        return _Read(
            texts=(self._tokenizer.text(wanted), self._tokenizer.text(response)),
            length=length_incentive(words),
            repetition=repetition_penalty(words),
            constrained=sample.reference is not None,
        )

    def _outcome(self, read: "_Read | ServiceError", states: list[Layers] | ServiceError) -> Outcome:
        if isinstance(read, ServiceError):
            return read
        if isinstance(states, ServiceError):
            return states
        relevance = float(np.dot(states[0][-1], states[1][-1]))
        if read.constrained:
            reward = constrained(relevance, read.repetition, self._range)
        else:
            reward = open_ended(read.length, relevance, read.repetition)
        return outcome(
            np.array([reward]),
            1,
            truncated=any(part.truncated for part in read.texts),
            tokens=sum(len(part.ids) for part in read.texts),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    texts: tuple[Tokens, Tokens]
    length: float
    repetition: float
    constrained: bool


def cut_response(response: str) -> str:
    """The response up to where the model began to play the other side of the conversation."""
    return _END_OF_RESPONSE.split(response, maxsplit=1)[0]


def length_incentive(words: Sequence[str]) -> float:
    """LI: words and runs of punctuation, in hundreds."""
    return len(words) / WORDS_PER_UNIT


def repetition_penalty(words: Sequence[str]) -> float:
    """RP: the share of distinct trigrams, 1 where there is no trigram."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0


def open_ended(length: float, relevance: float, repetition: float) -> float:
    """LI * QR * RP. Longer is better by design; slightly negative where the dot product is."""
    return length * relevance * repetition


def constrained(relevance: float, repetition: float, dot_range: RelevanceRange) -> float:
    """interp(RAR) * RP, in 0 .. 5.12. Length is not rewarded."""
    share = (relevance - dot_range.low) / (dot_range.high - dot_range.low)
    return min(max(share, 0.0), 1.0) * CONSTRAINED_TOP * repetition
