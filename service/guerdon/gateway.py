"""Answers requests: asks every member's scorer, and combines what they say into rewards."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from guerdon.aggregation import Aggregation, Calibration, aggregate, std
from guerdon.domain import trace
from guerdon.domain.errors import ServiceError, UnknownModel, UnusableField
from guerdon.domain.events import Failed, Rewarded
from guerdon.domain.ports import Record, Stage
from guerdon.domain.samples import OPTIONAL_FIELDS, Sample
from guerdon.domain.scores import Outcome, Score

NO_MEMBERS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One head of one scorer, under the name that callers see."""

    name: str
    scorer: str
    head: int
    calibration: Calibration | None = None
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Something callers can name: a scorer, one of its heads, or an ensemble of members.

    ``aggregation`` is the ensemble's default; None means that the single member's raw score is the reward.
    """

    name: str
    kind: str
    members: tuple[Member, ...]
    revision: str
    aggregation: Aggregation | None = None
    max_tokens: int | None = None

    @property
    def uses(self) -> frozenset[str]:
        """Optional fields of a sample that at least one member makes use of."""
        return frozenset().union(*(member.uses for member in self.members))


class Reward(NamedTuple):
    """What the caller gets for one response. ``std`` and ``members`` only where there is an ensemble.

    A tuple, as there is one for every response: a frozen dataclass takes three times as long to make.
    """

    value: float
    std: float | None = None
    members: Mapping[str, float] = NO_MEMBERS
    members_raw: Mapping[str, float] = NO_MEMBERS
    truncated: bool = False
    cached: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """The answer to a request: one reward or error per response of each sample, in order."""

    model: Model
    aggregation: Aggregation | None
    samples: list[list[Reward | ServiceError]]


class Gateway:
    """Scores samples with the models that it knows. ``scorers`` are the members' stages by name."""

    def __init__(self, models: Mapping[str, Model], scorers: Mapping[str, Stage], *, record: Record) -> None:
        self.models = dict(models)
        self._scorers = dict(scorers)
        self._record = record

    def model(self, name: str) -> Model:
        """Raises UnknownModel, which names the known ones."""
        model = self.models.get(name)
        if model is None:
            raise UnknownModel(f"no such model; known: {', '.join(sorted(self.models))}", field="model")
        return model

    async def score(
        self, name: str, samples: Sequence[Sample], *, aggregation: Aggregation | None = None, deadline: float
    ) -> Rewards:
        """Rewards for every response of every sample.

        ``aggregation`` overrides the ensemble's own. Raises ServiceError where the request as a whole
        cannot be answered; what is wrong with one response stands in its place.
        """
        model = self.model(name)
        _refuse_unusable(model, samples, aggregation)
        how = aggregation or model.aggregation
        pointwise = [sample.pointwise() for sample in samples]
        outcomes = await self._ask(model, [part for parts in pointwise for part in parts], deadline)
        with trace.timed("aggregate"):
            rewards = [_reward(model, how, row) for row in zip(*outcomes, strict=True)]
            self._tell(model, rewards)
            given = iter(rewards)
            return Rewards(model=model, aggregation=how, samples=[list(islice(given, len(p))) for p in pointwise])

    async def _ask(self, model: Model, samples: Sequence[Sample], deadline: float) -> list[list[Outcome]]:
        """Outcomes of all members in their order, each scorer asked once."""
        uses = {member.scorer: member.uses for member in model.members}
        asked = {
            name: self._scorers[name].score([s.only(used) for s in samples], deadline) for name, used in uses.items()
        }
        outcomes = await _all(asked)
        return [outcomes[member.scorer] for member in model.members]

    def _tell(self, model: Model, rewards: Sequence[Reward | ServiceError]) -> None:
        given = [reward for reward in rewards if isinstance(reward, Reward)]
        if given:
            spreads = [reward.std for reward in given if reward.std is not None]
            self._record(Rewarded(model.name, [reward.value for reward in given], spreads))
        if len(given) < len(rewards):
            for error in rewards:
                if isinstance(error, ServiceError):
                    self._record(Failed(model.name, error.code))


async def _all(asked: Mapping[str, Coroutine[Any, Any, list[Outcome]]]) -> dict[str, list[Outcome]]:
    """What was asked, answered together; a single one without a task of its own. Raises the first ServiceError."""
    if len(asked) == 1:
        return {name: await answer for name, answer in asked.items()}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(answer) for name, answer in asked.items()}
    except* ServiceError as errors:
        raise _first(errors) from None
    return {name: task.result() for name, task in tasks.items()}


def _reward(model: Model, how: Aggregation | None, outcomes: Sequence[Outcome]) -> Reward | ServiceError:
    """One response's reward from its members' outcomes. A member that failed fails it."""
    scores: list[Score] = []
    for outcome in outcomes:
        if isinstance(outcome, ServiceError):
            return outcome
        scores.append(outcome)
    return _single(model.members[0], scores[0]) if how is None else _combined(model, how, scores)


def _single(member: Member, score: Score) -> Reward:
    """The member's raw score."""
    return Reward(
        value=score.values[0][member.head], truncated=score.truncated[0], cached=score.cached, tokens=score.tokens
    )


def _combined(model: Model, how: Aggregation, scores: Sequence[Score]) -> Reward:
    raw, members, tokens = {}, {}, {}
    for member, score in zip(model.members, scores, strict=True):
        value = score.values[0][member.head]
        raw[member.name] = value
        members[member.name] = member.calibration.apply(value) if member.calibration else value
        tokens[member.scorer] = score.tokens
    values = list(members.values())
    return Reward(
        value=aggregate(values, how),
        std=std(values, how.ddof),
        members=members,
        members_raw=raw,
        truncated=any(score.truncated[0] for score in scores),
        cached=all(score.cached for score in scores),
        tokens=sum(tokens.values()),
    )


def _refuse_unusable(model: Model, samples: Sequence[Sample], aggregation: Aggregation | None) -> None:
    if aggregation is not None and model.aggregation is None:
        raise UnusableField(f"{model.name} is a single scorer: it has nothing to aggregate", field="aggregation")
    for index, sample in enumerate(samples):
        for name in OPTIONAL_FIELDS:
            if getattr(sample, name) is not None and name not in model.uses:
                raise UnusableField(f"{model.name} can make no use of a {name}", field=f"inputs[{index}].{name}")


def _first(errors: BaseExceptionGroup[ServiceError]) -> ServiceError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
