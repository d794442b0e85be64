"""Services that share a Redis: who computes, who waits, what is stored and for whom."""

import asyncio
import os
import random
import time

import pytest

from guerdon.cache.cached import Cached
from guerdon.cache.keys import identity
from guerdon.cache.memory import MemoryStore
from guerdon.cache.redis_contents import flush, stored
from guerdon.cache.redis_store import CLAIM, Shelf
from guerdon.cache.settings import RedisSettings
from guerdon.domain import caller
from guerdon.domain.caller import Caller, calling
from guerdon.domain.errors import EngineFailed, NonFinite, NotServable
from guerdon.domain.events import StoreAsked, StoreAwaited, StoreFailed, StoreMoved, StoreWrote
from guerdon.domain.samples import Sample, assistant, user
from guerdon.domain.scores import Score
from redis_servers import delayed
from redis_stores import KEYS, SHELF, score, store, until, written


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
