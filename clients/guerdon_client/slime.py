"""Rewards for slime: ``--custom-rm-path guerdon_client.slime.custom_rm``."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from guerdon_client.async_client import AsyncClient
from guerdon_client.environment import place
from guerdon_client.groups import Text
from guerdon_client.requests import Json
from guerdon_client.results import parsed
from guerdon_client.shared import asynchronous

Reward = float | Json


class Sample(Protocol):
    """What is read of slime's sample."""

    prompt: Text
    response: str


async def custom_rm(args: Any, sample: Sample | Sequence[Sample], **_: Any) -> Reward | list[Reward]:
    """The reward of a sample, or of each of a group (``--group-rm``). Raises GuerdonError.

    A number; with ``--reward-key``, an object that holds it as ``reward``, with an ensemble's ``std`` and ``members``.
    Each sample goes to the service's route for slime, so that its reward depends on nothing but itself.
    """
    where = place()
    path = f"/v1/slime/{quote(where.model, safe='')}?format=dict"
    client = asynchronous(where).client()
    samples = list(sample) if isinstance(sample, Sequence) else [sample]
    told = await _all([_asked(client, path, one) for one in samples])
    numbers = parsed(lambda: [float(one["reward"]) for one in told])
    rewards: Sequence[Reward] = told if getattr(args, "reward_key", None) else numbers
    return list(rewards) if isinstance(sample, Sequence) else rewards[0]


async def _asked(client: AsyncClient, path: str, sample: Sample) -> Json:
    told: Json = await client.call(path, {"prompt": sample.prompt, "response": sample.response})
    return told


async def _all(asked: Sequence[Coroutine[Any, Any, Json]]) -> list[Json]:
    """What all of them say; the first error ends the others."""
    tasks = [asyncio.create_task(one) for one in asked]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
