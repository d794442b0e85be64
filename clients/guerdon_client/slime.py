"""Rewards for slime: ``--custom-rm-path guerdon_client.slime.custom_rm``."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from guerdon_client.async_client import AsyncClient
from guerdon_client.environment import Place, place
from guerdon_client.groups import Text, disagreement, grouped, rows
from guerdon_client.requests import Json
from guerdon_client.shared import asynchronous

Reward = float | Json


class Sample(Protocol):
    """What is read of slime's sample."""

    prompt: Text
    response: str
    label: str | None


async def custom_rm(args: Any, sample: Sample | Sequence[Sample], **_: Any) -> Reward | list[Reward]:
    """The reward of a sample, or of each of a group (``--group-rm``). Raises GuerdonError.

    A number; with ``--reward-key``, an object that holds it as ``reward``, with an ensemble's ``std`` and ``members``.
    Prompts that are messages are templated by the service; strings are what slime has templated already.
    """
    where = place()
    client = asynchronous(where).client()
    samples = list(sample) if isinstance(sample, Sequence) else [sample]
    if any(isinstance(one.prompt, str) for one in samples):
        told = list(await asyncio.gather(*(_templated(client, where, one) for one in samples)))
    else:
        told = await _messages(client, where, samples)
    rewards: list[Reward] = [one if getattr(args, "reward_key", None) else one["reward"] for one in told]
    return rewards if isinstance(sample, Sequence) else rewards[0]


async def _templated(client: AsyncClient, where: Place, sample: Sample) -> Json:
    body = {"prompt": sample.prompt, "response": sample.response, "label": sample.label}
    return await client.call(f"/v1/slime/{quote(where.model, safe='')}?format=dict", body)


async def _messages(client: AsyncClient, where: Place, samples: Sequence[Sample]) -> list[Json]:
    inputs = grouped([one.prompt for one in samples], [one.response for one in samples])
    batch = await client.score_many(inputs, model=where.model, detail="members")
    columns = disagreement(inputs, batch)
    std = columns.pop("std", None)
    return [
        {"reward": reward}
        | ({} if std is None else {"std": std[at]})
        | {"members": {name: column[at] for name, column in columns.items()}}
        for at, reward in enumerate(rows(inputs, list(batch.good())))
    ]
