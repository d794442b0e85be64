"""Answers requests: asks every member's scorer, and combines what they say into rewards."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

from guerdon.aggregation import Aggregation, Misfit
from guerdon.domain import trace
from guerdon.domain.errors import ServiceError, UnknownModel, UnusableField, first_of
from guerdon.domain.events import Failed, Missing, Rewarded
from guerdon.domain.ports import Record, Stage
from guerdon.domain.samples import OPTIONAL_FIELDS, Sample
from guerdon.domain.scores import Outcome
from guerdon.ensemble import Member, Model, Reward, rewards_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """The answer to a request: one reward or error per response of each sample, in order."""

    model: Model
    aggregation: Aggregation | None
    degrades: bool
    samples: list[list[Reward | ServiceError]]


class Gateway:
    """Scores samples with the models that it knows, by their names or by ``aliases`` of these.

    ``scorers`` are the members' stages by name.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        scorers: Mapping[str, Stage],
        *,
        aliases: Mapping[str, str] = MappingProxyType({}),
        record: Record,
    ) -> None:
        self.models = dict(models)
        self._aliases = dict(aliases)
        self._scorers = dict(scorers)
        self._record = record

    def model(self, name: str) -> Model:
        """Raises UnknownModel, which names the known ones."""
        model = self.models.get(self.meant(name))
        if model is None and (heads := self.heads(self.meant(name))):
            told = ", ".join(head.name for head in heads)
            raise UnknownModel(f"{name} has several outputs; name one of them: {told}", field="model")
        if model is None:
            raise UnknownModel(f"no such model; known: {', '.join(sorted(self.models))}", field="model")
        return model

    def heads(self, name: str) -> list[Model]:
        """The outputs of a scorer that has several."""
        return [model for known, model in self.models.items() if known.startswith(f"{name}.")]

    def meant(self, name: str) -> str:
        """The model's own name where this is an alias of it; else the same."""
        return self._aliases.get(name, name)

    async def score(
        self,
        name: str,
        samples: Sequence[Sample],
        *,
        aggregation: Aggregation | None = None,
        degrade: bool | None = None,
        deadline: float,
    ) -> Rewards:
        """Rewards for every response of every sample.

        ``aggregation`` and ``degrade`` override the ensemble's own. Raises ServiceError where the request as a whole
        cannot be answered; what is wrong with one response stands in its place.
        """
        model = self.model(name)
        how = _fitted(model, aggregation, degrade)
        _refuse_unusable(model, samples)
        degrades = model.degrades if degrade is None else degrade
        outcomes = await self._ask(model, samples, deadline, degrades)
        with trace.timed("aggregate"):
            rows = zip(*outcomes, strict=True)
            each = [list(islice(rows, len(sample.responses))) for sample in samples]
            rewards = [rewards_of(model, how, row, degrade=degrades) for row in each]
            self._tell(model, [reward for row in rewards for reward in row])
            return Rewards(model=model, aggregation=how, degrades=degrades, samples=rewards)

    async def _ask(
        self, model: Model, samples: Sequence[Sample], deadline: float, degrades: bool
    ) -> list[list[Outcome]]:
        """Outcomes of all members in their order, one a response, each scorer asked once.

        Where rewards may do without a member, what is wrong with all of its answers is its outcome for each response.
        """
        scorers = {member.scorer: member for member in model.members}
        asked = {name: self._asked(member, samples, deadline) for name, member in scorers.items()}
        if degrades:
            count = sum(len(sample.responses) for sample in samples)
            asked = {name: _forgiven(answer, count) for name, answer in asked.items()}
        outcomes = await _all(asked)
        return [outcomes[member.scorer] for member in model.members]

    async def _asked(self, member: Member, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """What one scorer says of each response."""
        stage, used = self._scorers[member.scorer], [sample.only(member.uses) for sample in samples]
        if not member.set_wise:
            return await stage.score([part for sample in used for part in sample.pointwise()], deadline)
        judged = zip(await stage.score(used, deadline), used, strict=True)
        return [one for outcome, sample in judged for one in _each(outcome, len(sample.responses))]

    def _tell(self, model: Model, rewards: Sequence[Reward | ServiceError]) -> None:
        given = [reward for reward in rewards if isinstance(reward, Reward)]
        if given:
            spreads = [reward.std for reward in given if reward.std is not None]
            self._record(Rewarded(model.name, [reward.value for reward in given], spreads))
            for member, count in Counter(member for reward in given for member in reward.missing).items():
                self._record(Missing(model.name, member, count))
        if len(given) < len(rewards):
            for error in rewards:
                if isinstance(error, ServiceError):
                    self._record(Failed(model.name, error.code))


def _each(outcome: Outcome, responses: int) -> Sequence[Outcome]:
    """What was said of all responses, for each of them."""
    return [outcome] * responses if isinstance(outcome, ServiceError) else outcome.each()


async def _all(asked: Mapping[str, Coroutine[Any, Any, list[Outcome]]]) -> dict[str, list[Outcome]]:
    """What was asked, answered together; a single one without a task of its own. Raises the first ServiceError."""
    if len(asked) == 1:
        return {name: await answer for name, answer in asked.items()}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(answer) for name, answer in asked.items()}
    except* ServiceError as errors:
        raise first_of(errors) from None
    return {name: task.result() for name, task in tasks.items()}


async def _forgiven(asked: Coroutine[Any, Any, list[Outcome]], count: int) -> list[Outcome]:
    """The outcomes; the same error for each sample where they could not be had as a whole."""
    try:
        return await asked
    except ServiceError as error:
        return [error] * count


def _fitted(model: Model, aggregation: Aggregation | None, degrade: bool | None) -> Aggregation | None:
    """The aggregation to use. Raises UnusableField where it does not go with the model."""
    if model.aggregation is None:
        for field, given in (("aggregation", aggregation), ("on_member_failure", degrade)):
            if given is not None:
                raise UnusableField(f"{model.name} is a single scorer: it has nothing to aggregate", field=field)
        return None
    if aggregation is None:
        return model.aggregation
    try:
        return aggregation.fitted(model.names)
    except Misfit as error:
        raise UnusableField(f"aggregation.{error}", field=f"aggregation.{error.parameter}") from error


def _refuse_unusable(model: Model, samples: Sequence[Sample]) -> None:
    for index, sample in enumerate(samples):
        for name in OPTIONAL_FIELDS:
            if getattr(sample, name) is not None and name not in model.uses:
                where = name if name == "seed" else f"inputs[{index}].{name}"
                raise UnusableField(f"{model.name} can make no use of a {name}", field=where)
        if sample.templated is not None and sample.templated.token_ids is not None:
            for member in model.members:
                if "templated" not in member.uses:
                    told = f"{member.name} has no chat template: it reads text, and no token ids"
                    raise UnusableField(told, field=f"inputs[{index}]")
