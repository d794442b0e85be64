"""Scores in Redis, for all services that share it. The only door to redis-py."""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
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
"""So many commands may wait to be sent; while there are, no more scores are stored. A request is never divided."""
CONNECTIONS = 8
TTL_JITTER = 0.1
LATE_TURNS = 20
WRITE_TIMEOUT_S = 1.0
"""Nobody waits for a write."""
PROBE_TIMEOUT_S = 1.0
"""Nobody waits for a probe, and it may have to connect."""
POLL_S = 0.025
"""How often another service's computation is looked for at first; then ever less often, up to ten times as long."""
CLOSE_S = 2.0
"""How long scores that wait to be written are waited for in the end."""
FAULTS = (RedisError, OSError, TimeoutError)

Client = Redis | RedisCluster
Refused = ResponseError
"""A command that this user may not send, or this server does not know."""
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
    """Never raises, and keeps no caller waiting for long: a Redis that fails is one that knows nothing.

    A caller waits for `timeout_ms` for each thousand keys, begun. Nobody waits for writes.
    """

    def __init__(self, settings: RedisSettings, *, base: Path, record: Record) -> None:
        self._settings, self._record = settings, record
        self._timeout_s = settings.timeout_ms / 1000
        self._client = connect(settings, base)
        self._breaker = Breaker(self._probe, every_s=settings.probe_s, changed=self._moved)
        self._gets = Coalesced(self._guarded("read", self._get, self._timeout_s), most=CALL_ITEMS)
        self._claims = Coalesced(self._guarded("claim", self._claim, self._timeout_s), most=CALL_ITEMS)
        self._commands = Coalesced(self._guarded("write", self._send, WRITE_TIMEOUT_S), most=CALL_ITEMS)
        self._writing: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._owed: dict[str, None] = {}

    @property
    def claim_s(self) -> float:
        """How long a claim lasts; 0 where none are made."""
        return self._settings.claim_s

    async def start(self) -> None:
        """See whether it answers; if not, go on without it until it does."""
        try:
            await self._probe()
            async with asyncio.timeout(PROBE_TIMEOUT_S):
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
        found, asked, damaged = await self._look(shelf, keys)
        if asked:
            self._record(StoreAsked(len(found), asked - len(found) - damaged, damaged))
        return found

    async def claim(self, shelf: Shelf, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that this service is to compute; the others are being computed by another.

        Whoever is cancelled meanwhile has claimed nothing.
        """
        if self._breaker.open or not self.claim_s:
            return set(keys)
        claiming = asyncio.create_task(self._claimed(shelf, keys))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(lambda done: None if done.cancelled() else self.put(shelf, {}, done.result()))
            raise

    async def delivered(self, shelf: Shelf, keys: Sequence[bytes], until: float) -> dict[bytes, Score]:
        """What others that have claimed these keys store until then; those that give up are not waited for."""
        loop = asyncio.get_running_loop()
        found: dict[bytes, Score] = {}
        awaited, pause_s = list(keys), POLL_S
        while awaited and not self._breaker.open and loop.time() < until:
            claims = await self._values([_claim_of(shelf.name(key)) for key in awaited])
            gone = [key for key, claim in zip(awaited, claims, strict=False) if claim is None]
            found |= (await self._look(shelf, gone))[0]  # a score is stored before its claim goes
            left = set(gone)
            awaited = [key for key in awaited if key not in left]
            await asyncio.sleep(min(pause_s, max(0.0, until - loop.time())) if awaited else 0)
            pause_s = min(2 * pause_s, 10 * POLL_S)
        return found

    def put(self, shelf: Shelf, scores: Mapping[bytes, Score], release: Iterable[bytes] = ()) -> None:
        """Store, in the background, and give back the claims on ``release``."""
        entries = {shelf.name(key): packed(key, score) for key, score in scores.items()}
        stores: list[Command] = [
            ("SET", name, entry, "PX", self._lifetime_ms())
            for name, entry in entries.items()
            if len(entry) <= MAX_BYTES
        ]
        claims = [_claim_of(shelf.name(key)) for key in release] if self.claim_s else []
        if stores and (self._breaker.open or (self._pending and self._pending + len(stores) > PENDING_WRITES)):
            self._record(StoreWrote("dropped", len(stores)))
            stores = []
        if (
            self._breaker.open
        ):  # some may have been made, or be made yet when it goes on: they would keep others waiting
            self._owed |= dict.fromkeys(claims[: max(0, PENDING_WRITES - len(self._owed))])
        else:
            self._later([*stores, *(("DEL", name) for name in claims)])

    def _moved(self, out: bool) -> None:
        self._record(StoreMoved(out))
        if not out and self._owed:
            owed, self._owed = self._owed, {}
            self._later([("DEL", name) for name in owed])

    def _lifetime_ms(self) -> int:
        jitter = random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER)
        return round(self._settings.ttl.total_seconds() * 1000 * jitter)

    async def _look(self, shelf: Shelf, keys: Sequence[bytes]) -> tuple[dict[bytes, Score], int, int]:
        """The scores that are there, of how many keys that is known, and how many were damaged, which are deleted."""
        found: dict[bytes, Score] = {}
        damaged: list[Command] = []
        entries = await self._values([shelf.name(key) for key in keys])
        for key, entry in zip(keys, entries, strict=False):
            if entry is not None:
                try:
                    found[key] = unpacked(key, entry)
                except Damaged:
                    damaged.append(("DEL", shelf.name(key)))
        if damaged:
            log.warning("cache.damaged: %d entries, which are deleted", len(damaged))
            self._later(damaged)
        return found, len(entries), len(damaged)

    async def _values(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under the names; of the first of them only, where Redis goes out meanwhile or takes too long."""
        values: list[bytes | None] = []

        async def ask() -> None:
            for some in _pieces(names):
                values.extend(await self._gets(some))

        with suppress(Out, TimeoutError):
            await _within(self._patience_s(names), ask())
        return values

    async def _claimed(self, shelf: Shelf, keys: Sequence[bytes]) -> set[bytes]:
        """All keys but those that are known to be another's."""
        mine = set(keys)

        async def ask() -> None:
            for some in _pieces(keys):
                granted = await self._claims([_claim_of(shelf.name(key)) for key in some])
                mine.difference_update(key for key, got in zip(some, granted, strict=True) if not got)

        with suppress(Out, TimeoutError):
            await _within(self._patience_s(keys), ask())
        return mine

    def _patience_s(self, asked: Sequence[object]) -> float:
        return self._timeout_s * -(-len(asked) // 1_000)

    def _later(self, commands: Sequence[Command]) -> None:
        """Send in the background."""
        if commands:
            self._pending += len(commands)
            task = asyncio.create_task(self._write(commands))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _write(self, commands: Sequence[Command]) -> None:
        stored = 0
        try:
            with suppress(Out):
                for some in _pieces(commands):
                    stored += self._stored(some, await self._commands(some))
        finally:
            self._pending -= len(commands)
        self._record(StoreWrote("stored", stored))
        self._record(StoreWrote("failed", _stores(commands) - stored))

    def _stored(self, commands: Sequence[Command], answers: Sequence[Any]) -> int:
        """How many scores were taken."""
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed:
            self._record(StoreFailed("write", _kind(failed[0])))
            log.warning("cache.refused: %d writes: %s", len(failed), failed[0])
        pairs = zip(commands, answers, strict=True)
        return _stores(command for command, answer in pairs if not isinstance(answer, Exception))

    def _guarded(
        self, operation: Operation, call: Callable[[list[Item]], Awaitable[Sequence[Value]]], timeout_s: float
    ) -> Callable[[list[Item]], Awaitable[Sequence[Value]]]:
        """The call, which raises Out while the breaker is open, and trips it when Redis fails or is late."""

        async def guarded(items: list[Item]) -> Sequence[Value]:
            if self._breaker.open:
                raise Out
            try:
                return await _within(timeout_s, call(items))
            except FAULTS as error:
                self._fault(operation, error)
                raise Out from error

        return guarded

    def _fault(self, operation: Operation, error: Exception) -> None:
        self._record(StoreFailed(operation, _kind(error)))
        self._breaker.trip(str(error) or "Redis gave no answer in time")

    async def _probe(self) -> None:
        """Connect if need be, and do what callers will ask for, as fast as they want it."""
        await _within(max(PROBE_TIMEOUT_S, self._timeout_s), self._client.ping())
        await _within(self._timeout_s, self._get([f"{PREFIX}:probe"]))

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


async def _within(seconds: float, call: Awaitable[T]) -> T:
    """The call's result. Raises TimeoutError if there is none in time.

    This process may be what is late: before that is held against Redis, the event loop gets some turns to read an
    answer that has come already.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
        for _ in range(LATE_TURNS):
            if task.done():
                return task.result()
            await asyncio.sleep(0)
        raise TimeoutError
    finally:
        task.cancel()


def connect(settings: RedisSettings, base: Path, *, patience_s: float | None = None) -> Client:
    """A client that tries once. Nothing is connected yet. Raises NotServable for what cannot be meant.

    Without ``patience_s``, limits of time are its callers' affair.
    """
    try:
        url = urlsplit(settings.url.get_secret_value())
        scheme, _, kind = url.scheme.partition("+")
        options = _options(settings, url, base, patience_s)
        path = [unquote(part) for part in url.path.split("/") if part]
        if kind == "unix":
            named = parse_qs(url.query).get("db", ["0"])[0]
            return Redis(unix_socket_path=unquote(url.path), **options, db=_database(named))
        hosts = [_host(each) for each in url.netloc.rpartition("@")[2].split(",")]
        if scheme == "rediss":
            options |= {"ssl": True, "ssl_ca_certs": _there(settings.tls_ca_file, base)}
        if kind == "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **options)
        options["max_connections"] = CONNECTIONS
        if kind == "sentinel":
            if not path:
                raise ValueError("name the service: redis+sentinel://host:26379/SERVICE/0")
            timeouts = {"socket_timeout": PROBE_TIMEOUT_S, "socket_connect_timeout": PROBE_TIMEOUT_S}
            sentinel = Sentinel(hosts, sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]  # so in redis-py
            master: Redis = sentinel.master_for(path[0], **options, db=_database("/".join(path[1:]) or "0"))
            return master
        if len(hosts) != 1:
            raise ValueError("one host is needed")
        return Redis(host=hosts[0][0], port=hosts[0][1], **options, db=_database("/".join(path) or "0"))
    except (ValueError, OSError) as error:
        raise NotServable(f"cache.redis: {error}") from error


async def disconnect(client: Client) -> None:
    """Close its connections, those to sentinels too."""
    await client.aclose()
    if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _options(settings: RedisSettings, url: SplitResult, base: Path, patience_s: float | None) -> dict[str, Any]:
    password = unquote(url.password) if url.password else None
    if settings.password_file is not None:
        password = (base / settings.password_file).read_text().strip()
    return {
        "username": settings.username or (unquote(url.username) if url.username else None),
        "password": password,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": patience_s,
        "socket_connect_timeout": patience_s,
        "driver_info": None,
        "protocol": 2,
    }


def _host(written: str) -> tuple[str, int]:
    """A host and its port. What is wrong is not repeated: it may be a piece of a password."""
    found = re.fullmatch(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?", written)
    port = int(found["port"] or 6379) if found else 0
    if found is None or not 0 < port < 65_536:
        raise ValueError("url: HOST:PORT is needed after ://; in a password, write / as %2F, @ as %40, : as %3A")
    return found["host"].strip("[]"), port


def _database(written: str) -> int:
    if not written.isdecimal():
        raise ValueError("url: the number of a database is needed after the host, as in redis://localhost:6379/0")
    return int(written)


def _there(file: str | None, base: Path) -> str | None:
    """Raises OSError, which names the file, if it cannot be read."""
    if file is None:
        return None
    (base / file).open("rb").close()
    return str(base / file)


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
