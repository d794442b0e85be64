"""Rewards for OpenRLHF: the file that ``--reward.remote_url`` may name."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from guerdon_client.environment import Place, place
from guerdon_client.requests import Json
from guerdon_client.results import parsed
from guerdon_client.retries import Retries
from guerdon_client.shared import waiting

Labels = Sequence[Any] | None
RewardFunc = Callable[[Sequence[str], Sequence[str], Labels], Json]


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Labels = None) -> Json:
    """``rewards``, ``scores`` and ``extra_logs``, from the service and the model that the environment names."""
    return _asked(place(), queries, prompts, labels)


def reward_func_of(
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    timeout_s: float | None = None,
    retries: Retries | None = None,
) -> RewardFunc:
    """The same for a service that is named here. A request and its retries have ``timeout_s``, by default 600."""
    where = place(url, model, api_key, timeout_s=timeout_s, retries=retries)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Labels = None) -> Json:
        return _asked(where, queries, prompts, labels)

    return reward_func


def _asked(where: Place, queries: Sequence[str], prompts: Sequence[str], labels: Labels) -> Json:
    body = {"query": list(queries), "prompts": list(prompts)}
    if labels is not None:
        body["labels"] = list(labels)
    path = f"/get_reward?model={quote(where.model, safe='')}"
    told = waiting(where).call(path, body)
    return parsed(lambda: dict(told))
