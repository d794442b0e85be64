"""Pooled hidden states of texts, each distinct text computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.domain.errors import ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.queries import Query
from guerdon.engines.tokenizer import Tokens
from guerdon.scorers.heads import Layers


@dataclass(frozen=True, slots=True)
class Embedder:
    """Asks a backbone for the same layers of every text, pooled the same way."""

    engine: Engine
    layers: tuple[int, ...]
    pooling: str

    async def embed(self, texts: Iterable[Tokens], deadline: float) -> "dict[Tokens, Layers | ServiceError]":
        """Pooled layers by text. The error of a text is its value."""
        distinct = list(dict.fromkeys(texts))
        queries = [Query.of(text.ids, text.type_ids, layers=self.layers, pooling=self.pooling) for text in distinct]
        answers = await self.engine.answer(queries, deadline)
        return {
            text: answer
            if isinstance(answer, ServiceError)
            else dict(zip(self.layers, np.split(answer, len(self.layers)), strict=True))
            for text, answer in zip(distinct, answers, strict=True)
        }


def all_texts(prepared: Sequence[tuple[Tokens, ...] | ServiceError]) -> list[Tokens]:
    """Every text of every sample that could be prepared."""
    return [text for texts in prepared if not isinstance(texts, ServiceError) for text in texts]


def states_of(
    texts: tuple[Tokens, ...] | ServiceError, layers: "dict[Tokens, Layers | ServiceError]"
) -> list[Layers] | ServiceError:
    """The layers of each of a sample's texts, or the first error among them."""
    if isinstance(texts, ServiceError):
        return texts
    states: list[Layers] = []
    for text in texts:
        found = layers[text]
        if isinstance(found, ServiceError):
            return found
        states.append(found)
    return states
