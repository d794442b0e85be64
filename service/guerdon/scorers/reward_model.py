"""Scores with a sequence classifier: its raw logits are the scores."""

from collections.abc import Sequence

from guerdon.domain.errors import ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.queries import Query
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome
from guerdon.engines.tokenizer import ModelTokenizer, Tokens
from guerdon.scorers.scorer import outcome, prepared


class RewardModel:
    """One score per label of the checkpoint; no activation is applied."""

    uses: frozenset[str] = frozenset()

    def __init__(
        self, engine: Engine, tokenizer: ModelTokenizer, *, labels: tuple[str, ...], adapter: str = ""
    ) -> None:
        self._engine, self._tokenizer, self._adapter = engine, tokenizer, adapter
        self.heads = labels

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample; each sample has one response."""
        read = await prepared(lambda s: self._tokenizer.conversation(s.messages, s.responses[0]), samples)
        asked = [tokens for tokens in read if isinstance(tokens, Tokens)]
        queries = [Query.of(tokens.ids, tokens.type_ids, adapter=self._adapter) for tokens in asked]
        answers = iter(await self._engine.answer(queries, deadline))
        return [
            tokens
            if isinstance(tokens, ServiceError)
            else outcome(next(answers), len(self.heads), truncated=tokens.truncated, tokens=len(tokens.ids))
            for tokens in read
        ]
