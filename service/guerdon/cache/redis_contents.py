"""What is stored in Redis, looked at and deleted from outside of any service."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.cache.redis_store import CALL_ITEMS, FAULTS, PREFIX, Client, Refused, connect, disconnect
from guerdon.cache.settings import RedisSettings
from guerdon.domain.errors import NotServable

PATIENCE_S = 5.0
"""Of commands that somebody sits and waits for."""
FACTS = ("used_memory_human", "maxmemory_human", "maxmemory_policy", "evicted_keys", "expired_keys")


async def stored(settings: RedisSettings, base: Path) -> "Stored":
    """What is stored, and how Redis is. Raises NotServable if it does not answer."""
    client = connect(settings, base, patience_s=PATIENCE_S)
    try:
        counts: Counter[tuple[str, str]] = Counter()
        async for name in _names(client, "*"):
            tenant, scorer, _ = name.removeprefix(f"{PREFIX}:").split(":")
            counts[tenant, scorer] += 1
        return Stored(counts, await _facts(client))
    except FAULTS as error:
        raise _unreachable(error) from error
    finally:
        await disconnect(client)


async def flush(settings: RedisSettings, base: Path, *, scorer: str, tenant: str = "*") -> int:
    """Delete a scorer's scores; how many there were. Raises NotServable if Redis does not answer."""
    client = connect(settings, base, patience_s=PATIENCE_S)
    deleted, names = 0, list[str]()
    try:
        async for name in _names(client, f"{tenant}:{scorer}:*"):
            names.append(name)
            if len(names) == CALL_ITEMS:
                deleted, names = deleted + await _deleted(client, names), []
        return deleted + await _deleted(client, names)
    except FAULTS as error:
        raise _unreachable(error) from error
    finally:
        await disconnect(client)


async def _deleted(client: Client, names: Sequence[str]) -> int:
    """How many of the names there were."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.execute_command("DEL", name)
    return sum(await pipeline.execute())


@dataclass(frozen=True, slots=True)
class Stored:
    """Entries by tenant and scorer; and what Redis says of itself, where it may be asked."""

    entries: Mapping[tuple[str, str], int]
    facts: Mapping[str, Any]


async def _names(client: Client, pattern: str) -> AsyncIterator[str]:
    """Of scores: no claims, and nothing that others put there."""
    async for found in client.scan_iter(match=f"{PREFIX}:{pattern}", count=1_000):
        name = found.decode(errors="replace")
        if re.fullmatch(rf"{PREFIX}:[\w-]+:[\w-]+:[0-9a-f]{{32}}", name):
            yield name


async def _facts(client: Client) -> dict[str, Any]:
    """Of one server; a cluster has too many."""
    facts: dict[str, Any] = {}
    with suppress(Refused):
        told = {**await client.info("memory"), **await client.info("stats")}
        facts = {name: told[name] for name in FACTS if name in told}
    return facts


def _unreachable(error: Exception) -> NotServable:
    return NotServable(f"cache.redis: {error or 'no answer'}")
