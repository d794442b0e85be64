"""Scores the steps of a response: a process reward model gives each the probability that it is right."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np

from guerdon.domain.errors import EngineFailed, NonFinite, ServiceError
from guerdon.domain.ports import Engine
from guerdon.domain.queries import Answer, Floats, Query
from guerdon.domain.samples import Sample, plain_text
from guerdon.domain.scores import Outcome, Score
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.scorers.scorer import prepared

Reduction = Literal["last", "min", "product", "mean"]
REDUCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "product": math.prod,
    "mean": fmean,
}


class ProcessRewardModel:
    """One number a response, made of its steps' probabilities; these, and what other ways would make, are reported.

    As Qwen2.5-Math-PRM reads them: the steps of a response, a token behind each, where the head's two outputs are the
    logits of "wrong" and "right".
    """

    heads: tuple[str, ...] = ("score",)
    uses: frozenset[str] = frozenset()

    def __init__(
        self, engine: Engine, tokenizer: ModelTokenizer, *, mark: int, separator: str, right: int, reduction: Reduction
    ) -> None:
        self._engine, self._tokenizer, self._mark = engine, tokenizer, mark
        self._separator, self._right, self._reduction = separator, right, reduction

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample; each sample has one response."""
        read = await prepared(self._read, samples)
        asked = [item.query for item in read if isinstance(item, _Read)]
        answers = iter(await self._engine.answer(asked, deadline))
        return [item if isinstance(item, ServiceError) else self._outcome(item, next(answers)) for item in read]

    def _read(self, sample: Sample) -> "_Read":
        steps = steps_of(plain_text(sample.responses[0]), self._separator)
        tokens = self._tokenizer.stepwise(sample.messages, steps, self._mark)
        marks = [place for place, token in enumerate(tokens.ids) if token == self._mark]
        if len(marks) != len(steps):
            raise EngineFailed("the chat template writes the step token itself: steps cannot be told apart")
        return _Read(Query.of(tokens.ids), marks, tokens.truncated)

    def _outcome(self, read: "_Read", answer: Answer) -> Outcome:
        if isinstance(answer, ServiceError):
            return answer
        try:
            steps = probabilities(answer, read.query.length, read.marks, self._right)
        except ValueError as error:
            return EngineFailed(str(error))
        if not all(map(math.isfinite, steps)):
            return NonFinite("the model produced a number that is not finite")
        ways: dict[str, float] = {name: reduce(steps) for name, reduce in REDUCTIONS.items()}
        return Score(
            values=((ways[self._reduction],),),
            truncated=(read.truncated,),
            tokens=read.query.length,
            report={"steps": steps, **ways},
        )


class _Read(NamedTuple):
    """A response as the model reads it."""

    query: Query
    marks: list[int]
    truncated: bool


def steps_of(response: str, separator: str) -> list[str]:
    """The parts between separators that are not blank; a response without any is one step."""
    return [part for part in response.split(separator) if part.strip()] or [response]


def probabilities(outputs: Floats, tokens: int, marks: Sequence[int], right: int) -> list[float]:
    """Softmax of the head's outputs at each mark, for the label ``right``.

    ``outputs`` [tokens * labels] are those of every token, or [marks * labels] of the marks alone, as engines give
    that know which tokens count. Raises ValueError where they are neither.
    """
    for rows, places in ((tokens, marks), (len(marks), range(len(marks)))):
        if rows and len(outputs) % rows == 0 and right < len(outputs) // rows > 1:
            logits = np.asarray(outputs, np.float64).reshape(rows, -1)[list(places)]
            weights = np.exp(logits - logits.max(1, keepdims=True))
            chances: list[float] = (weights[:, right] / weights.sum(1)).tolist()
            return chances
    raise ValueError(f"the model gave {len(outputs)} numbers for {tokens} tokens and {len(marks)} steps")
