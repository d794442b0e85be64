"""The cache: what identifies a score, what is kept, and what is computed once."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.cache.cached import Cached
from guerdon.cache.keys import identity, score_keys
from guerdon.cache.memory import MemoryStore, size_of
from guerdon.domain.errors import DeadlineExceeded, EngineFailed, Overloaded
from guerdon.domain.events import CacheLooked
from guerdon.domain.samples import Message, Sample, assistant, user
from guerdon.domain.scores import Score


def score_key(scorer, one):
    return score_keys(scorer, [one])[0]


SCORER = identity(["model", "revision"])


def sample(text="response", prompt="prompt", **more):
    return Sample(messages=user(prompt), responses=(assistant(text),), **more)


class Counting:
    """A stage that scores by length, slowly, and counts what it is asked."""

    def __init__(self, delay_s=0.01, error=None):
        self.asked, self.delay_s, self.error, self.cancelled = [], delay_s, error, 0

    async def score(self, samples, deadline):
        self.asked += [s.responses[0][0].content for s in samples]
        left_s = max(deadline - asyncio.get_running_loop().time(), 0)
        try:
            await asyncio.sleep(min(self.delay_s, left_s))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.error, Overloaded):
            raise self.error
        if self.delay_s > left_s:  # decided before: a timer may fire a moment early
            return [DeadlineExceeded("late")] * len(samples)
        return [
            self.error or Score(values=((float(len(s.responses[0][0].content)),),), truncated=(False,)) for s in samples
        ]


def cached(stage, max_bytes=10**6):
    events = []
    return Cached(stage, MemoryStore(max_bytes), SCORER, record=events.append), events


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


texts = st.text(max_size=12)
samples = st.builds(
    lambda turns, responses, reference, principle: Sample(
        messages=tuple(Message(*turn) for turn in turns),
        responses=tuple(tuple(Message("assistant", text) for text in response) for response in responses),
        reference=reference,
        principle=principle,
    ),
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=3),
    st.lists(st.lists(texts, max_size=2), max_size=3),
    st.none() | texts,
    st.none() | texts,
)


@given(samples, samples)
def test_equal_keys_mean_equal_samples(one, two):
    """Whatever is shifted between fields, different content has a different key."""
    assert (score_key(SCORER, one) == score_key(SCORER, two)) == (one == two)


def test_another_scorer_has_other_keys():
    """Model revision, template and settings are part of the scorer's identity, and so of the key."""
    assert score_key(SCORER, sample()) != score_key(identity(["model", "revisioN"]), sample())
    assert identity(["ab", "c"]) != identity(["a", "bc"])


def test_the_store_stays_within_its_bytes_and_forgets_the_oldest():
    """Least recently used entries go first, and the count of bytes is right."""
    score = Score(values=((1.0,),), truncated=(False,))
    store = MemoryStore(10 * size_of(score))
    for i in range(10):
        store.put(bytes([i]), score)
    store.get(bytes([0]))
    store.put(b"new", score)
    assert store.bytes == len(store) * size_of(score) <= 10 * size_of(score)
    assert store.get(bytes([0])) is not None
    assert store.get(bytes([1])) is None


def test_a_store_of_no_bytes_keeps_nothing():
    """0 turns the cache off."""
    store = MemoryStore(0)
    store.put(b"k", Score(values=((1.0,),), truncated=(False,)))
    assert store.get(b"k") is None


async def test_what_was_computed_is_not_computed_again():
    """The second time it is a hit, and says so."""
    stage = Counting()
    stages, events = cached(stage)
    (first,) = await stages.score([sample("abc")], soon())
    (second,) = await stages.score([sample("abc")], soon())
    assert stage.asked == ["abc"]
    assert second == replace(first, cached=True)
    assert [(e.hits, e.misses, e.coalesced) for e in events if isinstance(e, CacheLooked)] == [(0, 1, 0), (1, 0, 0)]


async def test_equal_samples_of_one_call_are_computed_once():
    """Repetition within a request costs nothing."""
    stage = Counting()
    stages, _ = cached(stage)
    outcomes = await stages.score([sample("a"), sample("bb"), sample("a")], soon())
    assert [o.values[0][0] for o in outcomes] == [1.0, 2.0, 1.0]
    assert stage.asked == ["a", "bb"]


async def test_callers_that_ask_at_once_share_one_computation():
    """Fifty callers, one forward pass, fifty equal answers."""
    stage = Counting()
    stages, events = cached(stage)
    answers = await asyncio.gather(*(stages.score([sample("same")], soon()) for _ in range(50)))
    assert stage.asked == ["same"]
    assert {answer[0].values for answer in answers} == {((4.0,),)}
    assert sum(e.coalesced for e in events) == 49


async def test_a_caller_that_leaves_takes_nothing_from_the_others():
    """The one who started the computation hangs up; the one who joined gets its score, from one forward pass."""
    stage = Counting(delay_s=0.05)
    stages, _ = cached(stage)
    first = asyncio.create_task(stages.score([sample("x")], soon()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(stages.score([sample("x")], soon()))
    await asyncio.sleep(0.01)
    first.cancel()
    (score,) = await second
    assert score.values == ((1.0,),)
    assert stage.asked == ["x"]


async def test_a_computation_that_nobody_wants_is_stopped():
    """When its last caller leaves, the work is cancelled; the next caller starts afresh."""
    stage = Counting(delay_s=0.05)
    stages, _ = cached(stage)
    only = asyncio.create_task(stages.score([sample("x")], soon()))
    await asyncio.sleep(0.01)
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    (score,) = await stages.score([sample("x")], soon())
    assert stage.cancelled == 1
    assert score.values == ((1.0,),)


async def test_a_short_deadline_is_not_inherited():
    """Who joined a computation that ran out of its starter's time is computed for again."""
    stage = Counting(delay_s=0.05)
    stages, _ = cached(stage)
    hasty = asyncio.create_task(stages.score([sample("x")], soon(0.02)))
    await asyncio.sleep(0.005)
    (patient,) = await stages.score([sample("x")], soon())
    assert isinstance((await hasty)[0], DeadlineExceeded)
    assert patient.values == ((1.0,),)


@pytest.mark.parametrize("error", [EngineFailed("no"), Overloaded("full")])
async def test_errors_are_never_stored(error):
    """A failed sample is computed again the next time."""
    stage = Counting(error=error)
    stages, _ = cached(stage)
    assert await stages.score([sample("x")], soon()) == [error]
    stage.error = None
    (score,) = await stages.score([sample("x")], soon())
    assert score.values == ((1.0,),)


class OneByOne:
    """Scores what it can until the deadline, a sample every 50 ms; the rest is late, as batching leaves it."""

    def __init__(self):
        self.asked = 0

    async def score(self, samples, deadline):
        self.asked += len(samples)
        loop, outcomes = asyncio.get_running_loop(), []
        for _ in samples:
            left = deadline - loop.time()
            await asyncio.sleep(max(min(left, 0.05), 0))
            done = left > 0.05
            outcomes.append(Score(values=((1.0,),), truncated=(False,)) if done else DeadlineExceeded("late"))
        return outcomes


async def test_what_was_done_by_a_deadline_is_kept():
    """A caller that tries again gets further each time, and in the end has everything."""
    stages, _ = cached(OneByOne())
    samples = [sample(f"s{i}") for i in range(6)]
    kept = []
    for _ in range(6):
        outcomes = await stages.score(samples, soon(0.17))
        kept.append(sum(isinstance(outcome, Score) for outcome in outcomes))
    assert kept[0] >= 1
    assert kept == sorted(kept)
    assert kept[-1] == 6
