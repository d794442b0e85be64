"""OpenRLHF's habit: every finished sample at once, each a request of its own on a connection of its own."""

import asyncio

import aiohttp
from command_line import asked, tell


async def reward(url: str, sample: dict[str, str]) -> float:
    """One sample's, as its trainer reads it."""
    body = {"query": [sample["query"]], "prompts": [sample["prompt"]], "labels": [sample["label"]]}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session,
        session.post(f"{url}/get_reward", json=body) as answer,
    ):
        answer.raise_for_status()
        rewards = (await answer.json())["rewards"]
    return rewards[0] if isinstance(rewards, list) else rewards


async def burst(url: str, samples: list[dict[str, str]]) -> list[float]:
    """All of them at once."""
    return await asyncio.gather(*(reward(url, sample) for sample in samples))


url, case = asked()
tell(asyncio.run(burst(url, case["samples"])))
