"""Scores with k small heads over one backbone: one forward pass carries all of them."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from guerdon.domain import trace
from guerdon.domain.errors import ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.samples import Sample, plain_text
from guerdon.domain.scores import Outcome
from guerdon.engines.tokenizer import ModelTokenizer, Tokens
from guerdon.scorers.embedding import Embedder, all_texts, states_of
from guerdon.scorers.heads import Floats, Head, Layers, agreed, conversation_features, pair_features
from guerdon.scorers.scorer import conversation, outcome, prepared, reads_conversations

INLINE_ROWS = 32
"""So many responses are put through the heads at once; more of them, on a thread."""


def uses_of(heads: Mapping[str, Head], tokenizer: ModelTokenizer) -> frozenset[str]:
    """What heads make use of beyond the turns. Those that read prompt and response apart need the turns."""
    pairs, _, _ = agreed(heads.values())
    return frozenset() if pairs else reads_conversations(tokenizer)


class HeadEnsemble:
    """One score per head. Heads read either prompt and response apart, or the templated conversation."""

    def __init__(self, engine: Engine, tokenizer: ModelTokenizer, heads: Mapping[str, Head]) -> None:
        self.heads = tuple(heads)
        self._heads = tuple(heads.values())
        self._tokenizer = tokenizer
        self._pairs, pooling, layers = agreed(self._heads)
        self.uses = uses_of(heads, tokenizer)
        self._embedder = Embedder(engine, layers, pooling)

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample, with a number per head; each sample has one response."""
        texts = await prepared(self._texts, samples)
        layers = await self._embedder.embed(all_texts(texts), deadline)
        states = [states_of(item, layers) for item in texts]
        rows = [item for item in states if not isinstance(item, ServiceError)]
        values = iter(await self._values(rows))
        return [
            item if isinstance(item, ServiceError) else _outcome(next(values), text)
            for item, text in zip(states, texts, strict=True)
        ]

    def _texts(self, sample: Sample) -> tuple[Tokens, ...]:
        if not self._pairs:
            return (conversation(self._tokenizer, sample),)
        prompt, response = plain_text(sample.messages), plain_text(sample.responses[0])
        return self._tokenizer.text(prompt), self._tokenizer.text(response)

    async def _values(self, rows: Sequence[Sequence[Layers]]) -> Floats:
        """Raw numbers [rows, heads]."""
        with trace.timed("heads"):
            if len(rows) > INLINE_ROWS:
                return await asyncio.to_thread(self._apply, rows)
            return self._apply(rows)

    def _apply(self, rows: Sequence[Sequence[Layers]]) -> Floats:
        if not rows:
            return np.zeros((0, len(self._heads)), np.float32)
        inputs: dict[tuple[str, ...], Floats] = {}
        for features in {head.features for head in self._heads}:
            read = pair_features if self._pairs else conversation_features
            inputs[features] = np.stack([read(features, *states) for states in rows])
        return np.stack([head(inputs[head.features]) for head in self._heads], axis=1)


def _outcome(values: Floats, texts: tuple[Tokens, ...] | ServiceError) -> Outcome:
    assert not isinstance(texts, ServiceError)
    return outcome(
        values,
        len(values),
        truncated=any(text.truncated for text in texts),
        tokens=sum(len(text.ids) for text in texts),
    )
