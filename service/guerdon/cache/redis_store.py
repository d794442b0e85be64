"""Scores in Redis, for all services that share it. The only door to redis-py."""

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from guerdon.cache.breaker import Breaker
from guerdon.cache.coalesced import Coalesced
from guerdon.cache.entries import MAX_BYTES, Damaged, packed, unpacked
from guerdon.cache.settings import RedisSettings
from guerdon.domain.errors import NotServable
from guerdon.domain.events import Operation, StoreAsked, StoreFailed, StoreMoved, StoreWrote
from guerdon.domain.ports import Record
from guerdon.domain.scores import Score

log = logging.getLogger(__name__)

PREFIX = "guerdon:1"
"""Of every key; the number changes with the meaning of what follows."""
CLAIM = ":claim"
CALL_ITEMS = 250
"""Of one call at most: their transfer must fit into the time that a call is allowed."""
PENDING_WRITES = 20_000
"""So many commands may wait to be sent; with more, scores are not stored."""
CONNECTIONS = 8
TTL_JITTER = 0.1
HELD_UP_S = 0.02
"""A call that was given up so much later than it should have been was kept from its answer by this process."""
PROBE_TIMEOUT_S = 1.0
"""Nobody waits for a probe, and it may have to connect."""
POLL_S = 0.025
"""How often another service's computation is looked for at first; then ever less often, up to ten times as long."""
CLOSE_S = 2.0
"""How long scores that wait to be written are waited for in the end."""
FACTS = ("used_memory_human", "maxmemory_human", "maxmemory_policy", "evicted_keys", "expired_keys")
FAULTS = (RedisError, OSError, TimeoutError)

Client = Redis | RedisCluster
Command = tuple[Any, ...]
T = TypeVar("T")
Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one tenant's scores of one scorer stand."""

    tenant: str
    scorer: str

    def name(self, key: bytes) -> str:
        """Half of the key names the entry; the other half, which Redis never sees, proves that it is genuine."""
        return f"{PREFIX}:{self.tenant}:{self.scorer}:{key[:16].hex()}"


class Out(Exception):
    """Redis does not answer, or not properly."""


class RedisStore:
    """Never raises, and never keeps a caller longer than one time-out: a Redis that fails is one that knows nothing."""

    def __init__(self, settings: RedisSettings, *, base: Path, record: Record) -> None:
        self._settings, self._record = settings, record
        self._timeout_s = settings.timeout_ms / 1000
        self._client = connect(settings, base)
        self._breaker = Breaker(self._probe, every_s=settings.probe_s, changed=lambda out: record(StoreMoved(out)))
        self._gets = Coalesced(self._guarded("read", self._get), most=CALL_ITEMS)
        self._claims = Coalesced(self._guarded("claim", self._claim), most=CALL_ITEMS)
        self._commands = Coalesced(self._guarded("write", self._send), most=CALL_ITEMS)
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def claim_s(self) -> float:
        """How long a claim lasts; 0 where none are made."""
        return self._settings.claim_s

    async def start(self) -> None:
        """See whether it answers; if not, go on without it until it does."""
        try:
            await self._probe()
            await self._warn_of_memory()
        except FAULTS as error:
            self._fault("probe", error)

    async def close(self) -> None:
        """Write what waits, unless that takes long."""
        if self._writing and not self._breaker.open:
            await asyncio.wait(self._writing, timeout=CLOSE_S)
        for task in self._writing:
            task.cancel()
        await self._breaker.close()
        with suppress(*FAULTS):
            await disconnect(self._client)

    async def get(self, shelf: Shelf, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The scores that are there."""
        if self._breaker.open:
            return {}
        found: dict[bytes, Score] = {}
        damaged: list[bytes] = []
        entries = await self._values([shelf.name(key) for key in keys])
        for key, entry in zip(keys, entries, strict=False):
            if entry is not None:
                try:
                    found[key] = unpacked(key, entry)
                except Damaged:
                    damaged.append(key)
        if damaged:
            log.warning("cache.damaged: %d entries, which are deleted", len(damaged))
            self._later([("DEL", shelf.name(key)) for key in damaged])
        self._record(StoreAsked(len(found), len(entries) - len(found) - len(damaged), len(damaged)))
        return found

    async def claim(self, shelf: Shelf, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that this service is to compute; the others are being computed by another."""
        mine = set(keys)
        if self._breaker.open or not self.claim_s:
            return mine
        with suppress(Out):
            for some in _pieces(keys):
                granted = await self._claims([_claim_of(shelf.name(key)) for key in some])
                mine -= {key for key, got in zip(some, granted, strict=True) if not got}
        return mine

    async def delivered(self, shelf: Shelf, keys: Sequence[bytes], until: float) -> dict[bytes, Score]:
        """What others that have claimed these keys store until then; those that give up are not waited for."""
        loop = asyncio.get_running_loop()
        found: dict[bytes, Score] = {}
        awaited, pause_s = list(keys), POLL_S
        while awaited and not self._breaker.open and loop.time() < until:
            claimed = await self._values([_claim_of(shelf.name(key)) for key in awaited])
            found |= await self.get(shelf, awaited)  # after the claims: a score is stored before its claim goes
            pairs = zip(awaited, claimed, strict=False)
            awaited = [key for key, claim in pairs if claim is not None and key not in found]
            await asyncio.sleep(min(pause_s, max(0.0, until - loop.time())) if awaited else 0)
            pause_s = min(2 * pause_s, 10 * POLL_S)
        return found

    def put(self, shelf: Shelf, scores: Mapping[bytes, Score], release: Iterable[bytes] = ()) -> None:
        """Store, in the background, and give back the claims on ``release``."""
        entries = {shelf.name(key): packed(key, score) for key, score in scores.items()}
        commands: list[Command] = [
            ("SET", name, entry, "PX", self._lifetime_ms())
            for name, entry in entries.items()
            if len(entry) <= MAX_BYTES
        ]
        if self.claim_s:
            commands += [("DEL", _claim_of(shelf.name(key))) for key in release]
        self._later(commands)

    def _lifetime_ms(self) -> int:
        jitter = random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER)
        return round(self._settings.ttl.total_seconds() * 1000 * jitter)

    async def _values(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under the names; of the first of them only, where Redis goes out meanwhile."""
        values: list[bytes | None] = []
        with suppress(Out):
            for some in _pieces(names):
                values += await self._gets(some)
        return values

    def _later(self, commands: Sequence[Command]) -> None:
        """Send in the background, unless too much waits already."""
        if not commands:
            return
        if self._breaker.open or self._commands.items + len(commands) > PENDING_WRITES:
            self._record(StoreWrote("dropped", _stores(commands)))
            return
        task = asyncio.create_task(self._write(commands))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, commands: Sequence[Command]) -> None:
        stored = 0
        with suppress(Out):
            for some in _pieces(commands):
                answers = await self._commands(some)
                failed = [answer for answer in answers if isinstance(answer, Exception)]
                if failed:
                    self._record(StoreFailed("write", _kind(failed[0])))
                    log.warning("cache.refused: %d writes: %s", len(failed), failed[0])
                pairs = zip(some, answers, strict=True)
                stored += _stores(command for command, answer in pairs if not isinstance(answer, Exception))
        self._record(StoreWrote("stored", stored))
        self._record(StoreWrote("failed", _stores(commands) - stored))

    def _guarded(
        self, operation: Operation, call: Callable[[list[Item]], Awaitable[Sequence[Value]]]
    ) -> Callable[[list[Item]], Awaitable[Sequence[Value]]]:
        """The call, which raises Out while the breaker is open, and trips it when Redis fails or is late."""

        async def guarded(items: list[Item]) -> Sequence[Value]:
            if self._breaker.open:
                raise Out
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await call(items)
            except FAULTS as error:
                held_up = loop.time() - began > self._timeout_s + HELD_UP_S
                self._fault(operation, error, trips=not (held_up and isinstance(error, TimeoutError)))
                raise Out from error

        return guarded

    def _fault(self, operation: Operation, error: Exception, *, trips: bool = True) -> None:
        self._record(StoreFailed(operation, _kind(error)))
        if trips:
            self._breaker.trip(str(error) or f"Redis gave no answer within {self._settings.timeout_ms:g} ms")

    async def _probe(self) -> None:
        async with asyncio.timeout(max(PROBE_TIMEOUT_S, self._timeout_s)):
            await self._client.ping()

    async def _get(self, names: list[str]) -> list[Any]:
        if isinstance(self._client, RedisCluster):
            return list(await self._client.mget_nonatomic(names))
        return list(await self._client.mget(names))

    async def _claim(self, names: list[str]) -> list[bool]:
        lifetime_ms = round(self.claim_s * 1000)
        answers = await self._send([("SET", name, b"", "NX", "PX", lifetime_ms) for name in names])
        return [answer is not None for answer in answers]  # one that is refused is nobody else's

    async def _send(self, commands: list[Command]) -> list[Any]:
        """Each command's answer, or the error that it got."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))

    async def _warn_of_memory(self) -> None:
        """A Redis without a limit, or that evicts nothing, ends up full."""
        with suppress(ResponseError):  # a careful ACL forbids to ask
            memory = await self._client.info("memory")
            policy, limit = memory.get("maxmemory_policy"), memory.get("maxmemory")
            if limit == 0:
                log.warning("cache.memory: Redis has no maxmemory: it may take all there is")
            elif policy == "noeviction":
                log.warning("cache.memory: Redis evicts nothing (maxmemory-policy noeviction): set allkeys-lru")


async def stored(settings: RedisSettings, base: Path) -> "Stored":
    """What is stored, and how Redis is. Raises NotServable if it does not answer."""
    client = connect(settings, base)
    try:
        counts: Counter[tuple[str, str]] = Counter()
        async for name in _names(client, "*"):
            tenant, scorer, _ = name.removeprefix(f"{PREFIX}:").split(":", 2)
            counts[tenant, scorer] += 1
        return Stored(counts, await _facts(client))
    except FAULTS as error:
        raise _unreachable(error) from error
    finally:
        await disconnect(client)


async def flush(settings: RedisSettings, base: Path, *, scorer: str, tenant: str = "*") -> int:
    """Delete a scorer's scores; how many there were. Raises NotServable if Redis does not answer."""
    client = connect(settings, base)
    deleted = 0
    try:
        async for name in _names(client, f"{tenant}:{scorer}:*"):
            deleted += int(await client.delete(name))
    except FAULTS as error:
        raise _unreachable(error) from error
    finally:
        await disconnect(client)
    return deleted


@dataclass(frozen=True, slots=True)
class Stored:
    """Entries by tenant and scorer; and what Redis says of itself, where it may be asked."""

    entries: Mapping[tuple[str, str], int]
    facts: Mapping[str, Any]


async def _names(client: Client, pattern: str) -> AsyncIterator[str]:
    async for name in client.scan_iter(match=f"{PREFIX}:{pattern}", count=1_000):
        if not name.endswith(CLAIM.encode()):
            yield name.decode()


async def _facts(client: Client) -> dict[str, Any]:
    """Of one server; a cluster has too many."""
    facts: dict[str, Any] = {}
    with suppress(ResponseError):
        told = {**await client.info("memory"), **await client.info("stats")}
        facts = {name: told[name] for name in FACTS if name in told}
    return facts


def _unreachable(error: Exception) -> NotServable:
    return NotServable(f"cache.redis: {error or 'no answer'}")


def connect(settings: RedisSettings, base: Path) -> Client:
    """A client that tries once. Nothing is connected yet. Raises NotServable for what cannot be meant.

    Limits of time are its callers' affair.
    """
    url = urlsplit(settings.url.get_secret_value())
    scheme, _, kind = url.scheme.partition("+")
    try:
        options = _options(settings, url, base)
        hosts = [_host(each) for each in url.netloc.rpartition("@")[2].split(",")] if kind != "unix" else []
        path = [part for part in url.path.split("/") if part]
        if scheme == "rediss":
            options |= {"ssl": True, "ssl_ca_certs": settings.tls_ca_file and str(base / settings.tls_ca_file)}
        if kind == "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **options)
        options |= {"max_connections": CONNECTIONS, "db": int(path[-1]) if path and path[-1].isdigit() else 0}
        if kind == "unix":
            named = parse_qs(url.query).get("db", ["0"])[0]
            return Redis(unix_socket_path=unquote(url.path), **options | {"db": int(named)})
        if kind == "sentinel":
            if not path:
                raise ValueError("name the service: redis+sentinel://host:26379/SERVICE/0")
            timeouts = {"socket_timeout": PROBE_TIMEOUT_S, "socket_connect_timeout": PROBE_TIMEOUT_S}
            sentinel = Sentinel(hosts, sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]
            master: Redis = sentinel.master_for(path[0], **options)
            return master
        if len(hosts) != 1:
            raise ValueError("one host is needed")
        return Redis(host=hosts[0][0], port=hosts[0][1], **options)
    except (ValueError, OSError) as error:
        raise NotServable(f"cache.redis: {error}") from error


async def disconnect(client: Client) -> None:
    """Close its connections, those to sentinels too."""
    await client.aclose()
    if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _options(settings: RedisSettings, url: SplitResult, base: Path) -> dict[str, Any]:
    password = unquote(url.password) if url.password else None
    if settings.password_file is not None:
        password = (base / settings.password_file).read_text().strip()
    return {
        "username": settings.username or (unquote(url.username) if url.username else None),
        "password": password,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "driver_info": None,
        "protocol": 2,
    }


def _host(written: str) -> tuple[str, int]:
    host, _, port = written.rpartition(":") if re.search(r":\d+$", written) else (written, "", "6379")
    if not host:
        raise ValueError("the URL names no host")
    return host.strip("[]"), int(port)


def _claim_of(name: str) -> str:
    return name + CLAIM


def _pieces(everything: Sequence[T]) -> Iterator[Sequence[T]]:
    return (everything[start : start + CALL_ITEMS] for start in range(0, len(everything), CALL_ITEMS))


def _stores(commands: Iterable[Command]) -> int:
    return sum(command[0] == "SET" for command in commands)


def _kind(error: Exception) -> Literal["timeout", "refused", "memory", "connection", "other"]:
    match error:
        case TimeoutError() | RedisTimeoutError():
            return "timeout"
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return "refused"
        case OutOfMemoryError():
            return "memory"
        case RedisConnectionError() | OSError():
            return "connection"
        case _:
            return "other"
