"""The shared store on a real redis-server: what it keeps, what it refuses to believe, and how it fails."""

import asyncio
import logging
import os
import pickle
import random
import subprocess
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.cache.cached import Cached
from guerdon.cache.entries import MAC_BYTES, Damaged, packed, unpacked
from guerdon.cache.keys import identity
from guerdon.cache.memory import MemoryStore
from guerdon.cache.redis_contents import flush, stored
from guerdon.cache.redis_store import CLAIM, PREFIX, RedisStore, Shelf
from guerdon.cache.settings import RedisSettings
from guerdon.domain import caller
from guerdon.domain.caller import Caller, calling
from guerdon.domain.errors import EngineFailed, NonFinite, NotServable
from guerdon.domain.events import StoreAsked, StoreAwaited, StoreFailed, StoreMoved, StoreWrote
from guerdon.domain.samples import Sample, assistant, user
from guerdon.domain.scores import Score
from redis_servers import RedisServer, delayed, redis_server, tools

SHELF = Shelf("default", "rm")
KEYS = [bytes([i]) * 32 for i in range(1, 6)]


def score(value=1.5, tokens=7):
    return Score(values=((value, -value),), truncated=(True,), tokens=tokens)


@pytest.fixture
def server(tmp_path):
    with redis_server(tmp_path / "redis") as running:
        yield running


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


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    key=st.binary(min_size=32, max_size=32),
    rows=st.integers(1, 4).flatmap(lambda heads: st.lists(st.tuples(*[finite] * heads), min_size=1, max_size=5)),
    tokens=st.integers(0, 2**32 - 1),
    bit=st.integers(0, 10**6),
    other=st.binary(min_size=32, max_size=32),
)
def test_an_entry_is_the_score_of_its_key_or_nothing(key, rows, tokens, bit, other):
    """To the last digit; a single bit that differs, a piece that is missing, or another key, and it is damaged."""
    kept = Score(values=tuple(rows), truncated=tuple(i % 2 == 0 for i in range(len(rows))), tokens=tokens)
    entry = packed(key, kept)
    found = unpacked(key, entry)
    assert (found.values, found.truncated, found.tokens, found.cached) == (kept.values, kept.truncated, tokens, True)
    place = bit % (8 * len(entry))
    flipped = bytearray(entry)
    flipped[place // 8] ^= 1 << place % 8
    damaged = [bytes(flipped), entry[:-1], entry[: len(entry) // 2], b"", entry + b"\0"]
    for wrong in damaged:
        with pytest.raises(Damaged):
            unpacked(key, wrong)
    if other != key:
        with pytest.raises(Damaged):
            unpacked(other, entry)


async def test_scores_are_found_by_every_service_for_as_long_as_was_said(server, tmp_path):
    """One stores, the other finds; each entry expires within a tenth of the time set, not all at once."""
    scores = {os.urandom(32): score(float(i)) for i in range(200)}
    async with store(server.url, tmp_path, ttl="1h") as (one, told), store(server.url, tmp_path) as (other, asked):
        one.put(SHELF, scores)
        await written(one)
        found = await other.get(SHELF, [*scores, KEYS[0]])
        assert {key: each.values for key, each in found.items()} == {k: s.values for k, s in scores.items()}
        assert StoreWrote("stored", 200) in told
        assert asked == [StoreAsked(200, 1, 0)]
        assert await other.get(Shelf("another", "rm"), list(scores)) == {}
    with server.client() as client:
        left = [client.pttl(name) for name in client.scan_iter(f"{PREFIX}:*")]
    assert len(left) == 200
    assert 3600e3 * 0.89 < min(left) < 3600e3 * 0.95
    assert 3600e3 * 1.05 < max(left) <= 3600e3 * 1.1


def older(entry):
    return bytes([entry[0] - 1]) + entry[1:]


DAMAGES = {
    "truncated": lambda entry: entry[:-5],
    "tampered": lambda entry: entry[:10] + b"\x7f" + entry[11:],
    "older version": older,
    "empty": lambda entry: b"",
    "pickled": lambda entry: pickle.dumps(score()),
    "forged": lambda entry: entry[:-MAC_BYTES] + os.urandom(MAC_BYTES),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_is_a_miss_and_goes(server, tmp_path, damage):
    """Counted, deleted, and stored anew; the entry beside it is found."""
    async with store(server.url, tmp_path) as (made, events):
        made.put(SHELF, {key: score() for key in KEYS[:2]})
        await written(made)
        with server.client() as client:
            name = SHELF.name(KEYS[0])
            client.set(name, DAMAGES[damage](client.get(name)))
            assert list(await made.get(SHELF, KEYS[:2])) == [KEYS[1]]
            assert events[-1] == StoreAsked(1, 0, 1)
            await written(made)
            assert not client.exists(name)
        made.put(SHELF, {KEYS[0]: score(9.0)})
        await written(made)
        assert (await made.get(SHELF, KEYS[:1]))[KEYS[0]].values == ((9.0, -9.0),)


async def test_another_keys_entry_and_another_type_are_misses(server, tmp_path):
    """An entry that was moved to another name, and a list where an entry should be."""
    async with store(server.url, tmp_path) as (made, _):
        made.put(SHELF, {KEYS[0]: score()})
        await written(made)
        with server.client() as client:
            client.copy(SHELF.name(KEYS[0]), SHELF.name(KEYS[1]))
            client.rpush(SHELF.name(KEYS[2]), "a list")
        assert list(await made.get(SHELF, KEYS[:3])) == [KEYS[0]]
        made.put(SHELF, {KEYS[2]: score(3.0)})
        await written(made)
        assert KEYS[2] in await made.get(SHELF, [KEYS[2]])


async def test_a_redis_that_is_full_loses_writes_and_nothing_else(tmp_path):
    """Without eviction, writes are refused and counted; what is there is found, and the breaker stays closed."""
    with redis_server(tmp_path / "redis", "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        async with store(server.url, tmp_path) as (made, events):
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            with server.client() as client:
                client.config_set("maxmemory", "1")
            made.put(SHELF, {KEYS[1]: score()})
            await written(made)
            assert StoreFailed("write", "memory") in events
            assert StoreWrote("failed", 1) in events
            assert await made.claim(SHELF, KEYS[:3]) == set(KEYS[:3])
            assert list(await made.get(SHELF, KEYS[:2])) == [KEYS[0]]
            assert StoreMoved(True) not in events


async def test_a_score_that_is_too_large_is_not_stored(server, tmp_path):
    """One of nine thousand numbers is left out; its neighbour is kept."""
    huge = Score(values=(tuple(map(float, range(9_000))),), truncated=(False,), tokens=1)
    async with store(server.url, tmp_path) as (made, events):
        made.put(SHELF, {KEYS[0]: huge, KEYS[1]: score()})
        await written(made)
        assert list(await made.get(SHELF, KEYS)) == [KEYS[1]]
        assert StoreWrote("stored", 1) in events


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "no maxmemory"),
        (["--maxmemory", "9mb"], "evicts nothing"),
        (["--maxmemory", "9mb", "--maxmemory-policy", "allkeys-lru"], None),
    ],
)
async def test_a_redis_that_will_not_stay_small_is_told_of(tmp_path, caplog, options, told):
    """At the start, once."""
    with redis_server(tmp_path / "redis", *options) as server:
        async with store(server.url, tmp_path):
            warnings = [record.message for record in caplog.records if "cache.memory" in record.message]
    assert [told in warning for warning in warnings] == ([True] if told else [])


async def test_what_was_evicted_is_a_miss(tmp_path):
    """A small Redis keeps what fits; all that it still has is right."""
    with redis_server(tmp_path / "redis", "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as server:
        async with store(server.url, tmp_path) as (made, events):
            scores = {os.urandom(32): score(float(i)) for i in range(15_000)}
            made.put(SHELF, scores)
            await written(made)
            found = await made.get(SHELF, list(scores))
            assert 0 < len(found) < len(scores)
            assert all(each.values == scores[key].values for key, each in found.items())
            assert all(not isinstance(event, StoreFailed) for event in events)


async def test_a_wrong_password_costs_the_cache_and_is_told_without_it(tmp_path, caplog):
    """Degraded, not dead: logged without the secret, and in use as soon as the password is right."""
    with redis_server(tmp_path / "redis") as server:
        with server.client() as client:
            client.config_set("requirepass", "right")
        (tmp_path / "password").write_text("s3cret\n")
        with caplog.at_level(logging.DEBUG):
            async with store(server.url, tmp_path, password_file="password") as (made, events):
                assert events == [StoreFailed("probe", "refused"), StoreMoved(True)]
                assert await made.get(SHELF, KEYS) == {}
                with server.client(password="right") as client:
                    client.config_set("requirepass", "s3cret")
                await until(lambda: StoreMoved(False) in events)
                made.put(SHELF, {KEYS[0]: score()})
                await written(made)
                assert KEYS[0] in await made.get(SHELF, KEYS)
        assert "s3cret" not in caplog.text
        assert "password" in caplog.text


@pytest.mark.parametrize("how", ["frozen", "paused", "stopped"])
async def test_a_redis_that_does_not_answer_costs_one_timeout_and_comes_back(server, tmp_path, how):
    """Then nothing, until a probe finds it again; no caller waits for that."""
    async with store(server.url, tmp_path) as (made, events):
        made.put(SHELF, {KEYS[0]: score()})
        await written(made)
        match how:
            case "frozen":
                server.freeze()
            case "paused":
                with server.client() as client:
                    client.client_pause(1000)
            case "stopped":
                server.stop()
        began = time.perf_counter()
        answers = await asyncio.gather(*(made.get(SHELF, KEYS) for _ in range(50)))
        assert answers == [{}] * 50
        assert time.perf_counter() - began < 0.5
        await until(lambda: StoreMoved(True) in events)
        assert events.count(StoreMoved(True)) == 1
        failures = [event for event in events if isinstance(event, StoreFailed)]
        assert failures == [StoreFailed("read", "connection" if how == "stopped" else "timeout")]
        made.put(SHELF, {KEYS[1]: score()})
        assert events[-1] == StoreWrote("dropped", 1)
        if how == "frozen":
            server.thaw()
        elif how == "stopped":
            server.start()
        await until(lambda: StoreMoved(False) in events)
        made.put(SHELF, {KEYS[2]: score()})
        await written(made)
        assert KEYS[2] in await made.get(SHELF, KEYS)


async def test_a_redis_that_is_not_there_yet_is_used_once_it_is(tmp_path):
    """Down at the start is no different from down later."""
    server = RedisServer(tmp_path / "redis")
    try:
        async with store(server.url, tmp_path) as (made, events):
            assert events == [StoreFailed("probe", "connection"), StoreMoved(True)]
            server.start()
            await until(lambda: StoreMoved(False) in events)
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            assert KEYS[0] in await made.get(SHELF, KEYS)
    finally:
        server.stop()


async def test_four_commands_are_all_it_needs(server, tmp_path):
    """A user who may touch no other keys, and call nothing else."""
    with server.client() as client:
        commands = ["+ping", "+mget", "+set", "+del"]
        client.acl_setuser("scores", enabled=True, passwords=["+pw"], keys=["guerdon:*"], commands=commands)
    (tmp_path / "password").write_text("pw")
    async with store(server.url, tmp_path, username="scores", password_file="password") as (made, events):
        assert await made.claim(SHELF, KEYS) == set(KEYS)
        made.put(SHELF, {KEYS[0]: score()}, release=KEYS)
        await written(made)
        assert KEYS[0] in await made.get(SHELF, KEYS)
        assert not [event for event in events if isinstance(event, StoreFailed)]


async def test_a_claim_is_given_once_and_its_score_delivered(server, tmp_path):
    """Who does not get it waits for the score; who gives up is not waited for."""
    async with store(server.url, tmp_path) as (one, _), store(server.url, tmp_path) as (other, _):
        assert await one.claim(SHELF, KEYS[:3]) == set(KEYS[:3])
        assert await other.claim(SHELF, KEYS[2:]) == set(KEYS[3:])
        deadline = asyncio.get_running_loop().time() + 5
        waiting = asyncio.create_task(other.delivered(SHELF, KEYS[:3], deadline))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        one.put(SHELF, {KEYS[0]: score(1.0), KEYS[1]: score(2.0)}, release=KEYS[:3])  # none for the third
        delivered = await waiting
        assert {key: each.values[0][0] for key, each in delivered.items()} == {KEYS[0]: 1.0, KEYS[1]: 2.0}
        assert asyncio.get_running_loop().time() < deadline - 2
        assert await other.claim(SHELF, [KEYS[2]]) == {KEYS[2]}


async def test_a_claim_of_one_that_died_is_waited_for_only_so_long(server, tmp_path):
    """It expires."""
    async with store(server.url, tmp_path, claim_s=0.3) as (made, _):
        assert await made.claim(SHELF, KEYS) == set(KEYS)
        assert await made.claim(SHELF, KEYS) == set()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await made.delivered(SHELF, KEYS, began + 5) == {}
        assert loop.time() - began < 2
        assert await made.claim(SHELF, KEYS) == set(KEYS)


class Computing:
    """Scores by tenant and text, and counts how often it was asked for each."""

    def __init__(self, delay_s=0.0, error=None):
        self.asked, self.delay_s, self.error = {}, delay_s, error

    async def score(self, samples, deadline):
        await asyncio.sleep(self.delay_s)
        outcomes = []
        for each in samples:
            text = each.responses[0][0].content
            about = caller.current().tenant, text
            self.asked[about] = self.asked.get(about, 0) + 1
            value = oracle(*about)
            outcomes.append(self.error or Score(values=((value,),), truncated=(False,), tokens=3))
        return outcomes


def oracle(tenant, text):
    return int.from_bytes(identity([tenant, text])[:6]) / 2**20


def sample(text):
    return Sample(messages=user("prompt"), responses=(assistant(text),))


def cached(stage, shared, events=None, l1_bytes=1 << 20):
    record = (events if events is not None else []).append
    return Cached(stage, MemoryStore(l1_bytes), identity(["rm"]), record=record, name="rm", shared=shared)


def soon(seconds=10.0):
    return asyncio.get_running_loop().time() + seconds


async def test_two_services_compute_a_group_once(server, tmp_path):
    """Asked at once, each computes what it claimed and takes the rest from the other; asked later, nothing."""
    async with store(server.url, tmp_path) as (one, _), store(server.url, tmp_path) as (other, told):
        first, second = Computing(0.2), Computing(0.2)
        here, there = cached(first, one, told), cached(second, other, told)
        group = [sample(f"text {i}") for i in range(100)]
        answers = await asyncio.gather(here.score(group, soon()), there.score(group[::-1], soon()))
        assert sum(first.asked.values()) + sum(second.asked.values()) == 100
        right = [oracle("default", each.responses[0][0].content) for each in group]
        assert [o.values[0][0] for o in answers[0]] == right
        assert [o.values[0][0] for o in answers[1]] == right[::-1]
        assert sum(event.delivered for event in told if isinstance(event, StoreAwaited)) == 100
        assert sum(event.misses for event in told if isinstance(event, StoreAsked)) <= 200
        third = Computing()
        outcomes = await cached(third, other).score(group, soon())
        assert all(outcome.cached for outcome in outcomes)
        assert not third.asked


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.045, 0.055, 0.075, 0.15])
async def test_a_claim_does_not_outlive_a_caller_that_hangs_up(server, tmp_path, after_s):
    """Before, while and after it is made, by way of a slow line: the next service computes at once."""
    async with delayed(server, 0.03) as slow, store(slow, tmp_path, timeout_ms=1000) as (one, _):
        hanging = asyncio.create_task(cached(Computing(30), one).score([sample("x")], soon(60)))
        await asyncio.sleep(after_s)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        async with store(server.url, tmp_path) as (other, _):
            began = time.perf_counter()
            (outcome,) = await cached(Computing(), other).score([sample("x")], soon(60))
        assert outcome.values == ((oracle("default", "x"),),)
        assert time.perf_counter() - began < 2


async def test_a_claim_made_while_redis_froze_is_given_back(server, tmp_path):
    """It may be carried out when Redis goes on; nobody is kept waiting by it then."""
    async with store(server.url, tmp_path) as (made, events):
        service = cached(Computing(), made)
        await made.get(SHELF, KEYS)
        server.freeze()
        claimed = asyncio.create_task(made.claim(SHELF, KEYS))
        assert await claimed == set(KEYS)
        made.put(SHELF, {KEYS[0]: score()}, release=KEYS)
        (outcome,) = await service.score([sample("x")], soon())
        assert outcome.values == ((oracle("default", "x"),),)
        server.thaw()
        await until(lambda: StoreMoved(False) in events)
        await written(made)
        with server.client() as client:
            await until(lambda: not client.keys(f"*{CLAIM}"), 2)


async def test_a_request_of_twelve_thousand_is_stored_whole(server, tmp_path):
    """However large, a single request is not too much; the next service computes nothing, and no claim is left."""
    async with store(server.url, tmp_path, timeout_ms=1000) as (one, told), store(server.url, tmp_path) as (other, _):
        samples = [sample(f"text {i}") for i in range(12_000)]
        await cached(Computing(), one, l1_bytes=0).score(samples, soon(60))
        await written(one)
        assert StoreWrote("stored", 12_000) in told
        second = Computing()
        await cached(second, other, l1_bytes=0).score(samples[:3000], soon(60))
        assert not second.asked
        with server.client() as client:
            assert not client.keys(f"*{CLAIM}")


async def test_more_than_can_be_written_is_dropped(server, tmp_path):
    """Over a slow line a backlog grows to its bound, and no further."""
    async with delayed(server, 0.05) as slow, store(slow, tmp_path, timeout_ms=1000) as (made, events):
        for turn in range(6):
            made.put(SHELF, {os.urandom(32): score(float(turn)) for _ in range(9_000)})
        assert events.count(StoreWrote("dropped", 9_000)) == 4


async def test_a_redis_that_is_always_late_is_left_alone(server, tmp_path):
    """A probe that takes longer than callers wait does not bring it back, to fail them again."""
    async with delayed(server, 0.2) as slow, store(slow, tmp_path) as (made, events):
        for _ in range(30):
            await made.get(SHELF, KEYS)
            await asyncio.sleep(0.05)
        assert events.count(StoreMoved(True)) == 1
        assert StoreMoved(False) not in events


async def test_a_late_gateway_does_not_blame_redis(server, tmp_path):
    """The answer came in time, and this process was busy: it is read all the same, and the breaker stays closed."""
    async with store(server.url, tmp_path) as (made, events):
        made.put(SHELF, {key: score() for key in KEYS})
        await written(made)
        for _ in range(5):
            asking = asyncio.create_task(made.get(SHELF, KEYS))
            for _ in range(4):
                await asyncio.sleep(0)
                time.sleep(0.04)  # noqa: ASYNC251 - as a gateway does that parses a large body
            assert len(await asking) == len(KEYS)
        assert not [event for event in events if isinstance(event, StoreFailed)]


async def test_who_joins_a_reader_has_its_score_stored(server, tmp_path):
    """The computation was begun by one who stores nothing, and another wants it stored."""
    async with store(server.url, tmp_path) as (made, _):
        stage = Computing(0.2)
        service = cached(stage, made)

        async def ask(use):
            with calling(Caller(cache=use)):
                return await service.score([sample("x")], soon())

        reading = asyncio.create_task(ask("read"))
        await asyncio.sleep(0.1)
        await asyncio.gather(reading, ask("read-write"))
        await written(made)
        assert stage.asked == {("default", "x"): 1}
        with server.client() as client:
            assert client.dbsize() == 1


@pytest.mark.parametrize("error", [EngineFailed("no"), NonFinite("no")])
async def test_no_error_is_stored(server, tmp_path, error):
    """Nothing but the score of one that succeeded stands in Redis, and no claim is left."""
    async with store(server.url, tmp_path) as (made, _):
        stage = Computing(error=error)
        assert await cached(stage, made).score([sample("x")], soon()) == [error]
        await written(made)
        with server.client() as client:
            assert client.keys() == []
            stage.error = None
            (outcome,) = await cached(stage, made).score([sample("x")], soon())
            await written(made)
            assert len(client.keys()) == 1
        assert outcome.values == ((oracle("default", "x"),),)


async def test_a_request_says_what_it_takes_and_leaves(server, tmp_path):
    """off does neither, read does not store, write does not look."""
    async with store(server.url, tmp_path) as (made, _):

        async def asked(use, text):
            stage = Computing()
            with calling(Caller(cache=use)):
                await cached(stage, made).score([sample(text)], soon())
            await written(made)
            return sum(stage.asked.values())

        assert [await asked("off", "a"), await asked("read", "a"), await asked("read-write", "a")] == [1, 1, 1]
        assert [await asked("off", "a"), await asked("read", "a"), await asked("read-write", "a")] == [1, 0, 0]
        assert [await asked("write", "b"), await asked("write", "b"), await asked("read", "b")] == [1, 1, 0]


async def test_ten_thousand_requests_of_fifty_tenants_each_get_their_own(server, tmp_path):
    """Two services, small memories, many tenants with the same texts: every answer is what its tenant's is."""
    chance = random.Random(5)
    async with store(server.url, tmp_path) as (one, _), store(server.url, tmp_path) as (other, _):
        stages = [Computing(), Computing()]
        services = [cached(stages[0], one, l1_bytes=50_000), cached(stages[1], other, l1_bytes=50_000)]

        async def ask(service, tenant, texts):
            with calling(Caller(tenant)):
                outcomes = await service.score([sample(text) for text in texts], soon(60))
            return [outcome.values[0][0] for outcome in outcomes] == [oracle(tenant, text) for text in texts]

        right = 0
        for _ in range(100):
            asked = [
                ask(chance.choice(services), f"t{chance.randrange(50)}", chance.choices("abcdefghij", k=2))
                for _ in range(100)
            ]
            right += sum(await asyncio.gather(*asked))
        assert right == 10_000
        computed = sum(sum(stage.asked.values()) for stage in stages)
        assert 500 <= computed < 1_000


async def test_stored_scores_are_counted_and_flushed_by_scorer(server, tmp_path):
    """What `guerdon cache` shows and deletes."""
    settings = RedisSettings(url=server.url)
    async with store(server.url, tmp_path) as (made, _):
        made.put(Shelf("a", "rm"), {key: score() for key in KEYS})
        made.put(Shelf("b", "rm"), {key: score() for key in KEYS[:2]})
        made.put(Shelf("a", "rm2"), {KEYS[0]: score()})
        await made.claim(Shelf("a", "rm"), [os.urandom(32)])
        await written(made)
    with server.client() as client:
        client.mset({"guerdon:1:foo": "x", b"guerdon:1:\xff:rm:x": "x", "guerdon:1:a:rm:b:c": "x"})
    found = await stored(settings, tmp_path)
    assert found.entries == {("a", "rm"): 5, ("b", "rm"): 2, ("a", "rm2"): 1}
    assert found.facts["maxmemory_policy"] == "noeviction"
    assert await flush(settings, tmp_path, scorer="rm", tenant="b") == 2
    assert await flush(settings, tmp_path, scorer="rm") == 5
    assert (await stored(settings, tmp_path)).entries == {("a", "rm2"): 1}
    server.stop()
    with pytest.raises(NotServable, match=r"cache\.redis"):
        await stored(settings, tmp_path)


async def test_a_socket_file_will_do(tmp_path):
    """redis+unix."""
    path = tmp_path / "redis.sock"
    with redis_server(tmp_path / "redis", "--unixsocket", str(path)):
        async with store(f"redis+unix://{path}?db=1", tmp_path) as (made, _):
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            assert KEYS[0] in await made.get(SHELF, KEYS)


def _run(*command):
    """A tool that the tests need."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_encrypted_and_only_to_the_right_server(tmp_path):
    """rediss with the authority that signed its certificate; without it, nothing is sent."""
    folder = tmp_path / "tls"
    folder.mkdir()
    _run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
    )  # fmt: skip
    port = RedisServer(tmp_path / "none").port
    options = ["--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file"]
    options += [str(folder / "key.pem"), "--tls-auth-clients", "no"]
    url = f"rediss://127.0.0.1:{port}/0"
    with redis_server(tmp_path / "redis", *options):
        async with store(url, tmp_path, tls_ca_file="tls/cert.pem") as (made, events):
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            assert KEYS[0] in await made.get(SHELF, KEYS)
            assert StoreMoved(True) not in events
        async with store(url, tmp_path) as (made, events):
            assert events[-1] == StoreMoved(True)


async def test_a_sentinel_tells_where_the_master_is(tmp_path):
    """redis+sentinel."""
    with redis_server(tmp_path / "redis") as master:
        folder = tmp_path / "sentinel"
        folder.mkdir()
        (folder / "sentinel.conf").write_text(f"sentinel monitor scores 127.0.0.1 {master.port} 1\n")
        with redis_server(folder, sentinel=True) as sentinel:
            async with store(f"redis+sentinel://127.0.0.1:{sentinel.port}/scores/0", tmp_path) as (made, events):
                made.put(SHELF, {KEYS[0]: score()})
                await written(made)
                assert KEYS[0] in await made.get(SHELF, KEYS)
                assert StoreMoved(True) not in events


async def test_a_cluster_keeps_scores_on_all_its_servers(tmp_path):
    """redis+cluster: three masters, each with its share."""
    ports = [RedisServer(tmp_path / "none").port for _ in range(3)]
    servers = []
    try:
        for i, port in enumerate(ports):
            about = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
            about += ["--cluster-port", str(RedisServer(tmp_path / "none").port)]
            servers.append(RedisServer(tmp_path / f"node{i}", *about, port=port).start())
        hosts = [f"127.0.0.1:{port}" for port in ports]
        _run(str(tools() / "redis-cli"), "--cluster", "create", *hosts, "--cluster-yes")
        await until(lambda: all(each.client().cluster("info")["cluster_state"] == "ok" for each in servers), 30)
        scores = {os.urandom(32): score(float(i)) for i in range(300)}
        async with store(f"redis+cluster://{','.join(hosts)}", tmp_path, timeout_ms=500) as (made, events):
            assert StoreMoved(True) not in events
            made.put(SHELF, scores)
            await written(made)
            assert len(await made.get(SHELF, list(scores))) == 300
            assert await made.claim(SHELF, KEYS) == set(KEYS)
        sizes = [each.client().dbsize() for each in servers]
        assert min(sizes) > 50
    finally:
        for each in servers:
            each.stop()
