"""slime's remote reward: the answer's whole body is the reward, or the dictionary that holds it."""

import asyncio
from typing import Any

import aiohttp
from command_line import asked, tell


async def rewards(url: str, paths: list[str], sample: dict[str, Any]) -> list[Any]:
    """One sample's reward from each path, over one session."""
    got = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        for path in paths:
            async with session.post(url + path, json=sample) as answer:
                answer.raise_for_status()
                got.append(await answer.json())
    return got


url, case = asked()
tell(asyncio.run(rewards(url, case["paths"], case["sample"])))
