"""Rewards for TRL's trainers (GRPO, RLOO, online DPO)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, Unpack

from guerdon_client.async_client import AsyncClient
from guerdon_client.client import Client
from guerdon_client.environment import place
from guerdon_client.groups import Text, disagreement, grouped, rows
from guerdon_client.requests import ClientOptions, Json, present
from guerdon_client.results import ScoreBatch

Field = Literal["reference", "principle"]
Rewards = list[float | None]
Columns = Mapping[str, Any]
AsyncReward = Callable[..., Awaitable[Rewards]]
Reward = Callable[..., Rewards]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked of each batch. ``columns`` are the dataset's, by the fields that they fill."""

    name: str
    model: str
    aggregation: Mapping[str, Any] | None
    columns: Mapping[Field, str]
    on_error: Literal["raise", "none"]
    run: str | None

    def inputs(self, prompts: Sequence[Text], completions: Sequence[Text], columns: Columns) -> list[Json]:
        """The batch, completions to one prompt together."""
        return grouped(prompts, completions, {key: columns[column] for key, column in self.columns.items()})

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
            known = [value for value in values if value is not None]
            if log_extra is not None:
                log_extra(f"{self.name}/{column}", list(values))
            if log_metric is not None and known:
                log_metric(f"{self.name}/{column}", fmean(known))


def reward_func(
    url: str | None = None,
    *,
    model: str | None = None,
    name: str = "guerdon",
    aggregation: Mapping[str, Any] | None = None,
    columns: Mapping[Field, str] | None = None,
    on_error: Literal["raise", "none"] = "raise",
    run: str | None = None,
    sync: bool = False,
    **client: Unpack[ClientOptions],
) -> Callable[..., Any]:
    """A function for ``reward_funcs``. It is asynchronous; ``sync=True`` for trainers that cannot use that.

    ``name`` is what the trainer logs it under. ``columns`` names columns of the dataset that the model is to see:
    ``{"reference": "solution"}``. A completion without a reward ends the run with GuerdonError; with
    ``on_error="none"`` it is None, which TRL leaves out. ``client`` are options of `AsyncClient`.
    """
    where = place(url, model, client.get("api_key"))
    asking = Asking(
        name=name, model=where.model, aggregation=aggregation, columns=columns or {}, on_error=on_error, run=run
    )
    client["api_key"] = where.api_key
    reward = _sync(asking, where.url, client) if sync else _async(asking, where.url, client)
    reward.__name__ = reward.__qualname__ = name
    return reward


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
