"""One way of asking at a path: what a body looks like, how it is answered, and how refused."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar, get_args

from pydantic import BaseModel
from starlette.requests import Request

from guerdon.domain.compatible import CompatibleSettings, TemplatedText
from guerdon.domain.errors import Invalid, ServiceError, TooLarge, UnusableField
from guerdon.domain.limits import Limits
from guerdon.domain.samples import Sample
from guerdon.ensemble import Model, Reward
from guerdon.gateway import Gateway, Rewards
from guerdon.transport.answers import ErrorAnswer
from guerdon.transport.errors import Refusal
from guerdon.transport.native import NativeApi

Json = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)
Field = Callable[[int], str]
"""What the caller calls the response at an index."""


class Desk(NamedTuple):
    """What every request is answered with."""

    gateway: Gateway
    limits: Limits
    compatible: CompatibleSettings
    native: NativeApi


class Told(NamedTuple):
    """What was found: the model that was meant, and its rewards in the order of the responses."""

    model: Model
    rewards: list[Reward]
    degrades: bool

    @property
    def values(self) -> list[float]:
        """The rewards as numbers."""
        return [reward.value for reward in self.rewards]

    @property
    def tokens(self) -> int:
        """Tokens of the responses with their prompts."""
        return sum(reward.tokens for reward in self.rewards)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is being answered. ``given`` is its body as it came; ``headers`` go out with the answer."""

    request: Request
    desk: Desk
    deadline: float
    given: object
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The request's id."""
        told: str = self.request.state.id
        return told

    def named(self, model: str | None) -> str:
        """The model that is asked for: by the body, else by ``?model=`` in the URL, else ``default``."""
        return model or self.request.query_params.get("model") or "default"

    async def rewards(self, model: str | None, samples: Sequence[Sample], field: Field) -> Told:
        """One reward per response. Raises the error of the first response that has none, which ``field`` names."""
        self.bounded("max_responses", max((len(sample.responses) for sample in samples), default=0), field(0))
        self.bounded("max_total_responses", sum(len(sample.responses) for sample in samples), field(0))
        name = self.named(model)
        if not samples:
            return Told(self.desk.gateway.model(name), [], False)
        asked = await self._asked(name, samples, field)
        self.request.state.model = asked.model.name
        row = [reward for rewards in asked.samples for reward in rewards]
        for index, reward in enumerate(row):
            if isinstance(reward, ServiceError):
                raise reward.at(field(index))
        return Told(asked.model, [reward for reward in row if isinstance(reward, Reward)], asked.degrades)

    def bounded(self, limit: str, count: int, field: str) -> None:
        """Raises TooLarge where there are more than a limit of the configuration allows."""
        most = getattr(self.desk.limits, limit)
        if count > most:
            raise TooLarge(f"{count} responses are too many; at most {most} (limits.{limit})", field=field)

    async def _asked(self, name: str, samples: Sequence[Sample], field: Field) -> Rewards:
        try:
            return await self.desk.gateway.score(name, samples, deadline=self.deadline)
        except UnusableField as error:
            raise error.at(field(0)) from error

    async def outputs(self, model: str | None, samples: Sequence[Sample], field: Field) -> "tuple[Told, Outputs]":
        """Rewards; or where the name is that of a scorer with several heads, what each head says.

        The second is one mapping per response from the output's name; a single output is called ``reward``.
        """
        models = self.models(model)
        if len(models) == 1:
            told = await self.rewards(model, samples, field)
            return told, [{"reward": value} for value in told.values]
        each = await asyncio.gather(*(self.rewards(head.name, samples, field) for head in models))
        names = [head.name.rpartition(".")[2] for head in models]
        rows = zip(*(told.values for told in each), strict=True)
        whole = replace(each[0].model, name=models[0].name.rpartition(".")[0])
        return each[0]._replace(model=whole), [dict(zip(names, row, strict=True)) for row in rows]

    def models(self, model: str | None) -> list[Model]:
        """The model that is asked for; the heads of a scorer that has several, none of them its own."""
        gateway, name = self.desk.gateway, self.desk.gateway.meant(self.named(model))
        return gateway.heads(name) if name not in gateway.models and gateway.heads(name) else [gateway.model(name)]


Outputs = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Dialect(Generic[Body]):
    """One protocol at a path. ``keys`` are those of a body by which it is told from the path's other protocols.

    ``answers`` documents what it answers.
    """

    body: type[Body]
    answer: Callable[[Call, Body], Awaitable[object]]
    keys: frozenset[str] = frozenset()
    refusal: type[Refusal] = ErrorAnswer
    answers: type[BaseModel] | None = None


def in_path(name: str) -> Json:
    """A parameter that stands in a path, for the OpenAPI document."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def in_query(name: str, description: str, **schema: Any) -> Json:
    """A parameter of the URL's query, for the OpenAPI document."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


MODEL_PARAMETER = in_query("model", "where the body names none")
TEXT_PARAMETERS = (
    MODEL_PARAMETER,
    in_query("templated_text", "by default as configured", enum=list(get_args(TemplatedText))),
)


@dataclass(frozen=True, slots=True)
class Path:
    """An address, and the protocols that meet there; the first whose keys a body has answers, else the first."""

    path: str
    summary: str
    dialects: tuple[Dialect[Any], ...]
    methods: tuple[str, ...] = ("POST",)
    tag: str = "other protocols"
    parameters: tuple[Json, ...] = (MODEL_PARAMETER,)

    @property
    def in_path(self) -> list[Json]:
        """The parameters that stand in the path."""
        return [in_path(name) for name in re.findall(r"{(\w+)", self.path)]

    def dialect(self, body: object) -> Dialect[Any]:
        """The protocol that a body is written in."""
        if isinstance(body, Mapping) and len(self.dialects) > 1:
            for dialect in self.dialects:
                if not dialect.keys.isdisjoint(body):
                    return dialect
        return self.dialects[0]


def none_empty(items: Sequence[object], field: str) -> None:
    """Raises Invalid where a list that must hold something is empty."""
    if not items:
        raise Invalid(f"{field}: at least 1 is needed", field=field)
