"""Rewards for TRL's trainers (GRPO, RLOO, online DPO)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, Unpack, get_args

from guerdon_client.async_client import AsyncClient
from guerdon_client.client import Client
from guerdon_client.environment import place
from guerdon_client.errors import Refused
from guerdon_client.groups import Text, disagreement, grouped, rows
from guerdon_client.requests import ClientOptions, Json, present
from guerdon_client.results import ScoreBatch
from guerdon_client.words import known, meant

Field = Literal["reference", "principle"]
OnFailure = Literal["raise", "none"]
Rewards = list[float | None]
Columns = Mapping[str, Any]
AsyncReward = Callable[..., Awaitable[Rewards]]
Reward = Callable[..., Rewards]
OF_TRL = frozenset({"completion_ids", "environments", "log_extra", "log_metric", "trainer_state"})
"""What TRL hands a function beside the dataset's columns."""
ARGUMENTS = (
    "url", "model", "name", "aggregation", "columns", "on_error", "run", "sync", *ClientOptions.__annotations__,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked of each batch. ``columns`` are the dataset's, by the fields that they fill."""

    name: str
    model: str
    aggregation: Mapping[str, Any] | None
    columns: Mapping[Field, str]
    on_error: OnFailure
    run: str | None

    def inputs(self, prompts: Sequence[Text], completions: Sequence[Text], columns: Columns) -> list[Json]:
        """The batch, completions to one prompt together."""
        return grouped(prompts, completions, {key: _column(columns, name) for key, name in self.columns.items()})

    def options(self, columns: Columns) -> dict[str, Any]:
        """What goes with the inputs."""
        logs = columns.get("log_extra") is not None
        spares = self.on_error == "none"
        return {
            "model": self.model,
            "errors": "return" if spares else "raise",
            "detail": "members" if logs else "rewards",
        } | present(
            {
                "aggregation": self.aggregation,
                "partial": True if spares else None,
                "run": self.run,
                "step": getattr(columns.get("trainer_state"), "global_step", None),
            }
        )

    def rewards(self, inputs: Sequence[Json], batch: ScoreBatch, columns: Columns) -> Rewards:
        """One for each completion; beside them, an ensemble's members go to the trainer's log."""
        self._log(disagreement(inputs, batch), columns)
        return rows(inputs, batch)

    def _log(self, told: Mapping[str, Sequence[float | None]], columns: Columns) -> None:
        log_extra, log_metric = columns.get("log_extra"), columns.get("log_metric")
        for column, values in told.items():
            numbers = [value for value in values if value is not None]
            if log_extra is not None:
                log_extra(f"{self.name}/{column}", list(values))
            if log_metric is not None and numbers:
                log_metric(f"{self.name}/{column}", fmean(numbers))


def _column(columns: Columns, name: str) -> Any:
    if name not in columns:
        there = [column for column in columns if column not in OF_TRL]
        raise Refused("invalid", f"columns: the dataset has no column {name!r}; {meant(name, there)}", field="columns")
    return columns[name]


def reward_func(
    url: str | None = None,
    *,
    model: str | None = None,
    name: str = "guerdon",
    aggregation: Mapping[str, Any] | None = None,
    columns: Mapping[Field, str] | None = None,
    on_error: OnFailure = "raise",
    run: str | None = None,
    sync: bool = False,
    **client: Unpack[ClientOptions],
) -> Callable[..., Any]:
    """A function for ``reward_funcs``. It is asynchronous; ``sync=True`` for trainers that cannot use that.

    ``name`` is what the trainer logs it under. ``columns`` names columns of the dataset that the model is to see:
    ``{"reference": "solution"}``. A completion without a reward ends the run with GuerdonError; with
    ``on_error="none"`` it is None, which TRL leaves out. ``client`` are options of `AsyncClient`; ``timeout_s`` is 600
    by default. Raises ValueError or TypeError for an argument that is none of these.
    """
    _check(on_error, columns or {}, client)
    where = place(url, model, client.get("api_key"), timeout_s=client.get("timeout_s"), retries=client.get("retries"))
    asking = Asking(
        name=name, model=where.model, aggregation=aggregation, columns=columns or {}, on_error=on_error, run=run
    )
    client |= {"api_key": where.api_key, "timeout_s": where.timeout_s, "retries": where.retries}
    reward = _sync(asking, where.url, client) if sync else _async(asking, where.url, client)
    reward.__name__ = reward.__qualname__ = name
    return reward


def _check(on_error: object, columns: Mapping[Any, Any], options: Mapping[str, Any]) -> None:
    known(on_error, get_args(OnFailure), "on_error")
    for field, column in columns.items():
        known(field, get_args(Field), "columns")
        if not isinstance(column, str):
            raise TypeError(f"columns: {field!r} needs the name of a column, not {column!r}")
    for option in options:
        if option not in ClientOptions.__annotations__:
            raise TypeError(f"reward_func() has no argument {option!r}; {meant(option, ARGUMENTS)}")


def _async(asking: Asking, url: str, options: ClientOptions) -> AsyncReward:
    async def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> Rewards:
        inputs = asking.inputs(prompts, completions, columns)
        async with AsyncClient(url, **options) as client:  # once a step: nothing is gained by keeping connections
            batch = await client.score_many(inputs, **asking.options(columns))
        return asking.rewards(inputs, batch, columns)

    return reward


def _sync(asking: Asking, url: str, options: ClientOptions) -> Reward:
    def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> Rewards:
        inputs = asking.inputs(prompts, completions, columns)
        with Client(url, **options) as client:
            return asking.rewards(inputs, client.score_many(inputs, **asking.options(columns)), columns)

    return reward
