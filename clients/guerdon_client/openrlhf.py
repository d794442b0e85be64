"""Rewards for OpenRLHF: the file that ``--reward.remote_url`` may name."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from guerdon_client.environment import Place, place
from guerdon_client.requests import Json
from guerdon_client.shared import waiting

RewardFunc = Callable[[Sequence[str], Sequence[str], Sequence[Any]], Json]


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> Json:
    """``rewards``, ``scores`` and ``extra_logs``, from the service and the model that the environment names."""
    return _asked(place(), queries, prompts, labels)


def reward_func_of(url: str, *, model: str | None = None, api_key: str | None = None) -> RewardFunc:
    """The same for a service that is named here."""
    where = place(url, model, api_key)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> Json:
        return _asked(where, queries, prompts, labels)

    return reward_func


def _asked(where: Place, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> Json:
    body = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
    path = f"/get_reward?model={quote(where.model, safe='')}"
    return waiting(where).call(path, body)
