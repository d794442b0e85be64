"""What the tests of the shared store have in common: a store on a server, and what is put into it."""

import asyncio
import time
from contextlib import asynccontextmanager

from guerdon.cache.redis_store import RedisStore, Shelf
from guerdon.cache.settings import RedisSettings
from guerdon.domain.scores import Score

SHELF = Shelf("default", "rm")
KEYS = [bytes([i]) * 32 for i in range(1, 6)]


def score(value=1.5, tokens=7):
    return Score(values=((value, -value),), truncated=(True,), tokens=tokens)


@asynccontextmanager
async def store(url, tmp_path, **more):
    """A started store, and the events that it tells."""
    events = []
    made = RedisStore(RedisSettings(url=url, **({"probe_s": 0.2} | more)), base=tmp_path, record=events.append)
    await made.start()
    try:
        yield made, events
    finally:
        await made.close()


async def written(made):
    """Wait until all that was put is written."""
    while made._writing:
        await asyncio.wait(made._writing)


async def until(condition, seconds=5.0):
    """Wait for something that is to happen soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
