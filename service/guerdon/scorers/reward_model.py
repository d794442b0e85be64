"""Scores with a sequence classifier: its raw logits are the scores."""

from collections.abc import Sequence
from typing import NamedTuple

from guerdon.domain.errors import ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.queries import Query
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.scorers.scorer import conversation, outcome, prepared, reads_conversations


class RewardModel:
    """One score per label of the checkpoint; no activation is applied."""

    def __init__(
        self, engine: Engine, tokenizer: ModelTokenizer, *, labels: tuple[str, ...], adapter: str = ""
    ) -> None:
        self._engine, self._tokenizer, self._adapter = engine, tokenizer, adapter
        self.uses = reads_conversations(tokenizer)
        self.heads = labels

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample; each sample has one response."""
        read = await prepared(self._read, samples)
        asked = [item.query for item in read if isinstance(item, _Read)]
        answers = iter(await self._engine.answer(asked, deadline))
        return [
            item
            if isinstance(item, ServiceError)
            else outcome(next(answers), len(self.heads), truncated=item.truncated, tokens=item.query.length)
            for item in read
        ]

    def _read(self, sample: Sample) -> "_Read":
        tokens = conversation(self._tokenizer, sample)
        return _Read(Query.of(tokens.ids, tokens.type_ids, adapter=self._adapter), tokens.truncated)


class _Read(NamedTuple):
    """A sample as the model reads it, while it waits in the queue."""

    query: Query
    truncated: bool
