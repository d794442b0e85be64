"""The shared store on a real redis-server: what it keeps, what it refuses to believe, and how it fails."""

import asyncio
import logging
import os
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.cache.entries import MAC_BYTES, Damaged, packed, unpacked
from guerdon.cache.redis_store import PREFIX, Shelf
from guerdon.domain.events import StoreAsked, StoreFailed, StoreMoved, StoreWrote
from guerdon.domain.scores import Score
from redis_servers import RedisServer, redis_server
from redis_stores import KEYS, SHELF, score, store, until, written

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
