"""Workers in child processes that die, hang and mislead, and the batching in front of them."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fault_child import DIE, DIE_LATE_ONCE, DIE_ONCE, SHORT, SLOW, STOP, STRAY, TWICE, WAIT
from guerdon.batching.batched import Batched
from guerdon.batching.budget import BatchSettings
from guerdon.domain import trace
from guerdon.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    NotServable,
    Overloaded,
    Unavailable,
    WorkerLost,
)
from guerdon.domain.events import BatchDone, Dropped, MemorySplit, QueueChanged, Refused, WorkerDown, WorkerUp
from guerdon.domain.interest import Interest
from guerdon.domain.ports import ignore
from guerdon.domain.queries import Query, Work
from guerdon.telemetry import Metrics
from guerdon.workers.inline import InlineWorker
from guerdon.workers.process import ProcessWorker
from guerdon.workers.settings import WorkerSettings

pytestmark = pytest.mark.alone

CHILD = (sys.executable, str(Path(__file__).with_name("fault_child.py")))
QUICK = WorkerSettings(hung_after_s=2.0, backoff_s=0.05, backoff_max_s=0.2)


class Rig:
    """An engine over fault children, what it reported, and the batches its children saw."""

    def __init__(self, log, replicas, settings, queue_tokens, engine):
        self.events, self.log = [], log
        self.workers = [
            ProcessWorker(
                {"log": str(log), **engine}, QUICK, name="fault", replica=i, record=self.events.append, command=CHILD
            )
            for i in range(replicas)
        ]
        self.engine = Batched(
            self.workers, settings, queue_tokens=queue_tokens, name="fault", record=self.events.append
        )

    def lines(self):
        """For each batch its process, and the first token of each query."""
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [(int(pid), [int(first) for first in firsts.split(",")]) for pid, firsts in words]

    def batches(self):
        return [len(firsts) for _, firsts in self.lines()]

    async def batches_begun(self, count):
        async with asyncio.timeout(20):
            while len(self.lines()) < count:
                await asyncio.sleep(0.005)

    def go(self):
        """Let the children go on that wait."""
        self.log.with_suffix(".go").touch()

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def sums(self, *firsts, seconds=30.0):
        return await self.ask(*(Query.of((first, 1, 1)) for first in firsts), seconds=seconds)

    async def ask(self, *queries, seconds=30.0):
        answers = await self.engine.answer(queries, asyncio.get_running_loop().time() + seconds)
        return [answer if isinstance(answer, Exception) else float(answer[0]) for answer in answers]


@pytest.fixture
def rig(tmp_path):
    """Start an engine; it is closed at the end, and none of its children outlives it."""

    @contextlib.asynccontextmanager
    async def start(replicas=1, settings=None, queue_tokens=10**6, ready=True, **engine):
        made = Rig(tmp_path / "log", replicas, settings or BatchSettings(), queue_tokens, engine)
        (tmp_path / "log").touch()
        await made.engine.start()
        pids = []
        try:
            if ready:
                await made.engine.ready()
                pids = [worker.pid for worker in made.workers]
            yield made
        finally:
            await made.engine.close()
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

    return start


async def test_a_killed_worker_costs_a_retry_and_not_a_request(rig):
    """Two hundred callers, one SIGKILL in the middle: two hundred right answers."""
    async with rig(settings=BatchSettings(max_batch_items=5)) as made:
        asking = [asyncio.create_task(made.sums(SLOW if i == 30 else i)) for i in range(200)]
        await asyncio.sleep(0.1)
        os.kill(made.workers[0].pid, signal.SIGKILL)
        answers = await asyncio.gather(*asking)
        assert answers == [[(SLOW if i == 30 else i) + 2.0] for i in range(200)]
        assert WorkerDown("fault", 0, "died") in made.events
        assert len(made.seen(WorkerUp)) == 2


async def test_a_hung_worker_is_replaced(rig):
    """A child that is stopped falls silent, is killed, and its batch runs in the next one."""
    async with rig() as made:
        assert await made.sums(STOP, 5) == [STOP + 2.0, 7.0]
        assert WorkerDown("fault", 0, "hung") in made.events


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_requests_that_arrive_while_a_worker_goes_down_are_answered(how, rig):
    """Callers keep coming through the whole of it, also while the dead child is cleared away: none is failed."""
    async with rig() as made:
        stop = asyncio.Event()

        async def keep_asking(first):
            count = 0
            while not stop.is_set():
                assert await made.sums(first + count % 7) == [first + count % 7 + 2.0]
                count += 1
                await asyncio.sleep(0.001)
            return count

        asking = [asyncio.create_task(keep_asking(100 * i)) for i in range(8)]
        for _ in range(3):
            await asyncio.sleep(0.1)
            ups = len(made.seen(WorkerUp))
            os.kill(made.workers[0].pid, how)
            async with asyncio.timeout(20):
                while len(made.seen(WorkerUp)) == ups:
                    await asyncio.sleep(0.01)
        stop.set()
        assert all(count > 10 for count in await asyncio.gather(*asking))


async def test_another_replica_takes_over_a_dead_ones_batch(rig):
    """With two replicas nobody waits for the restart."""
    async with rig(replicas=2) as made:
        assert await made.sums(DIE_ONCE, 1, 2) == [DIE_ONCE + 2.0, 3.0, 4.0]


async def test_a_query_that_kills_every_worker_is_given_up_alone(rig):
    """Its neighbours get their answers; it gets an error that says so."""
    async with rig() as made:
        one, killer, two = await made.sums(1, DIE, 2, seconds=60)
        assert (one, two) == (3.0, 4.0)
        assert isinstance(killer, WorkerLost)
        assert await made.sums(7) == [9.0]


async def test_a_wrong_number_of_answers_is_never_given_to_anyone(rig):
    """A child that leaves a query without an answer is taken down, and no answer lands at the wrong caller."""
    async with rig() as made:
        answers = await made.sums(1, SHORT, 2, seconds=60)
        assert answers[0] == 3.0
        assert answers[2] == 4.0
        assert isinstance(answers[1], WorkerLost)
        assert WorkerDown("fault", 0, "died") in made.events


async def test_an_answer_to_no_query_takes_the_worker_down(rig):
    """A child that numbers its answers wrongly is not trusted again; its neighbours' answers are right."""
    async with rig() as made:
        one, stray, two = await made.sums(1, STRAY, 2, seconds=60)
        assert (one, two) == (3.0, 4.0)
        assert isinstance(stray, WorkerLost)


async def test_a_second_answer_to_a_query_takes_the_worker_down(rig):
    """The first of two stays; the batch has all its answers by then, so nothing is computed again."""
    async with rig() as made:
        assert await made.sums(1, TWICE, 2) == [3.0, TWICE + 2.0, 4.0]
        assert await made.sums(5) == [7.0]
        assert made.batches() == [3, 1]
        assert WorkerDown("fault", 0, "died") in made.events


async def test_an_answer_does_not_wait_for_the_rest_of_its_batch(rig):
    """Two callers in one batch: one has its answer while the other's is not there yet."""
    async with rig() as made:
        waiting, quick = asyncio.create_task(made.sums(WAIT)), asyncio.create_task(made.sums(1))
        assert await quick == [3.0]
        assert not waiting.done()
        made.go()
        assert await waiting == [WAIT + 2.0]
        assert made.batches() == [2]


async def test_a_worker_that_dies_in_a_batch_costs_only_the_unanswered_a_retry(rig):
    """What was answered before the death is kept, and not computed again."""
    async with rig() as made:
        dying = asyncio.create_task(made.sums(DIE_LATE_ONCE))
        assert await made.sums(1, 2) == [3.0, 4.0]
        made.go()
        assert await dying == [DIE_LATE_ONCE + 2.0]
        assert [firsts for _, firsts in made.lines()] == [[1, 2, DIE_LATE_ONCE], [DIE_LATE_ONCE]]


async def test_no_batch_waits_behind_another_while_a_replica_idles(rig):
    """A worker takes a second batch ahead of time only when no other worker has less to do."""
    async with rig(replicas=3) as made:
        asking = []
        for number in range(3):
            asking.append(asyncio.create_task(made.ask(Query.of((WAIT, number)))))
            await made.batches_begun(number + 1)
        assert len({pid for pid, _ in made.lines()}) == 3
        made.go()
        assert await asyncio.gather(*asking) == [[float(WAIT + number)] for number in range(3)]


async def test_group_mates_are_computed_together_where_the_engine_shares_prefixes(rig):
    """What a child says of its engine decides: responses that arrive interleaved run prompt by prompt, or in order."""
    queries = [Query.of((prompt, 1, 1, response)) for response in range(4) for prompt in (1, 2, 3)]
    for shares, expected in ((True, [[1] * 4, [2] * 4, [3] * 4]), (False, [[1, 2, 3], [1, 2, 3]] * 2)):
        settings = BatchSettings(max_batch_tokens=8 if shares else 12)
        async with rig(settings=settings, shares_prefixes=shares) as made:
            assert made.workers[0].shares_prefixes is shares
            with trace.traced() as traced:
                await made.ask(*queries)
            assert [firsts for _, firsts in made.lines()] == expected
            assert traced.tokens_computed == (21 if shares else 48)
            made.log.unlink()


async def test_tokens_count_where_they_were_asked_first(rig):
    """Of two callers that wait for the same query, the first has it in its account."""
    async with rig() as made:

        async def counted(*firsts):
            with trace.traced() as traced:
                await made.sums(*firsts)
            return traced.tokens_computed

        assert await asyncio.gather(counted(5, 6, 5), counted(6, 7), counted(7)) == [6, 3, 0]
        assert await counted(5) == 3


async def test_splits_for_want_of_memory_are_counted(rig):
    """Each is an event, and a step of its counter."""
    async with rig(memory_splits=2) as made:
        await made.sums(1)
        assert made.seen(MemorySplit) == [MemorySplit("fault")] * 2
        metrics = Metrics([], {"fault": 1})
        for event in made.events:
            metrics.record(event)
        assert b'guerdon_memory_splits_total{engine="fault"} 2.0' in metrics.render()


async def test_batches_form_while_the_worker_is_busy(rig):
    """The first request goes at once; what arrives meanwhile shares the next batches."""
    async with rig() as made:
        await asyncio.gather(*(made.sums(SLOW if i < 2 else i) for i in range(40)))
        assert len(made.batches()) <= 5
        assert sum(event.items for event in made.seen(BatchDone)) == len({SLOW, *range(2, 40)})


async def test_equal_queries_are_computed_once(rig):
    """Five callers ask the same while it waits: one query, five answers."""
    async with rig() as made:
        blocking = [asyncio.create_task(made.sums(SLOW)), asyncio.create_task(made.sums(SLOW, 8))]
        await asyncio.sleep(0.05)
        assert await asyncio.gather(*(made.sums(5) for _ in range(5))) == [[7.0]] * 5
        await asyncio.gather(*blocking)
        assert sum(made.batches()) <= 4


async def test_a_caller_that_goes_away_leaves_the_queue(rig):
    """Cancelled while queued: counted, never computed, and the queue is empty at once."""
    async with rig(settings=BatchSettings(max_batch_items=1)) as made:
        busy = [asyncio.create_task(made.sums(SLOW)) for _ in range(1)]
        await asyncio.sleep(0.05)
        busy.append(asyncio.create_task(made.sums(SLOW + 100)))
        gone = asyncio.create_task(made.sums(21, 22, 23))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert Dropped("fault", "disconnect", 3) in made.events or Dropped("fault", "disconnect", 2) in made.events
        assert made.seen(QueueChanged)[-1].items == 0
        await asyncio.gather(*busy)


async def test_what_a_worker_has_begun_is_finished_though_nobody_waits(rig):
    """The caller may ask again. What still waits in the queue is dropped at once."""
    async with rig(settings=BatchSettings(max_batch_items=1)) as made:
        interest = Interest()
        with interest.felt():
            asking = asyncio.create_task(made.sums(WAIT, *range(20)))
        await made.batches_begun(1)
        assert interest.lost()
        assert made.seen(QueueChanged)[-1].items == 0
        made.go()
        first, *others = await asking
        assert first == WAIT + 2.0
        assert sum(isinstance(other, Cancelled) for other in others) >= 18
        assert len(made.batches()) <= 3
        assert not interest.lost()


async def test_what_went_down_with_its_worker_is_not_begun_again_for_nobody(rig):
    """Its caller hung up, and then the worker died of it."""
    async with rig() as made:
        interest = Interest()
        with interest.felt():
            asking = asyncio.create_task(made.sums(DIE_LATE_ONCE))
        await made.batches_begun(1)
        assert interest.lost()
        made.go()
        (answer,) = await asking
        assert isinstance(answer, Cancelled)
        assert await made.sums(7) == [9.0]
        assert [firsts for _, firsts in made.lines()] == [[DIE_LATE_ONCE], [7]]


async def test_a_deadline_in_the_queue_is_an_error_and_no_work(rig):
    """What expires before its turn is answered with deadline_exceeded, and never computed."""
    async with rig(settings=BatchSettings(max_batch_items=1)) as made:
        busy = [asyncio.create_task(made.sums(SLOW)), asyncio.create_task(made.sums(SLOW, 1))]
        await asyncio.sleep(0.05)
        (late,) = await made.sums(21, seconds=0.05)
        assert isinstance(late, DeadlineExceeded)
        assert Dropped("fault", "deadline", 1) in made.events
        await asyncio.gather(*busy)


async def test_a_full_queue_refuses_and_says_when_to_come_back(rig):
    """Beyond queue_tokens nothing is started; the error names the limit and a time."""
    async with rig(queue_tokens=30, settings=BatchSettings(max_batch_items=1)) as made:
        busy = [asyncio.create_task(made.sums(SLOW, i)) for i in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match=r"limits\.queue_tokens") as refused:
            await made.sums(*range(100, 110))
        assert refused.value.retry_after_s >= 1
        assert made.seen(Refused) == [Refused("fault", "queue_full", 10)]
        await asyncio.gather(*busy)
        assert await made.sums(1) == [3.0]


async def test_a_model_that_cannot_be_served_is_said_at_once(rig):
    """The reason reaches those who wait for readiness and those who ask for scores; nothing restarts for ever."""
    async with rig(ready=False, not_servable=True) as made:
        with pytest.raises(NotServable, match="no such model"):
            await made.engine.ready()
        assert made.engine.unready == "no such model"
        with pytest.raises(Unavailable, match="no such model"):
            await made.sums(1)


async def test_a_worker_that_dies_on_load_backs_off(rig):
    """The process stays diagnosable: not ready, with a reason, and callers are refused instead of kept waiting."""
    async with rig(ready=False, dies_on_load=True) as made:
        async with asyncio.timeout(20):
            while made.engine.unready == "starting":
                await asyncio.sleep(0.05)
        assert "failed" in made.engine.unready
        with pytest.raises(Unavailable):
            await made.sums(1)
        assert len(made.seen(WorkerDown)) >= 2


class Scripted:
    """An engine that delivers what it is told, and goes on with the rest when it may."""

    shares_prefixes = True

    def __init__(self, indexes):
        self.indexes, self.go = indexes, threading.Event()

    def compute(self, queries, deliver):
        for position, index in enumerate(self.indexes):
            if position == 1:
                self.go.wait(20)
            deliver(index, np.array([index], dtype=np.float32), 1)
        return Work(len(queries))


@contextlib.asynccontextmanager
async def inline(engine):
    """An engine in this process."""
    worker = InlineWorker(lambda: engine, name="inline", replica=0, record=ignore)
    batched = Batched([worker], BatchSettings(), queue_tokens=100, name="inline", record=ignore)
    await batched.start()
    try:
        await batched.ready()
        assert worker.shares_prefixes
        yield batched
    finally:
        await batched.close()


async def test_an_inline_worker_delivers_each_answer_when_it_is_there():
    """Out of order, from the engine's thread: a caller has its answer while the engine still computes another's."""
    engine = Scripted([1, 0])
    async with inline(engine) as batched:
        until = asyncio.get_running_loop().time() + 20
        late, early = (asyncio.create_task(batched.answer([Query.of((i,))], until)) for i in range(2))
        assert await early == [np.array([1])]
        assert not late.done()
        engine.go.set()
        assert await late == [np.array([0])]


@pytest.mark.parametrize("indexes", [[0], [0, 0, 1], [0, 1, 2], [0, -1]])
async def test_an_inline_engine_that_does_not_answer_each_query_once_failed(indexes):
    """What has an answer keeps it; the rest get an error, and the worker goes on."""
    engine = Scripted(indexes)
    engine.go.set()
    async with inline(engine) as batched:
        until = asyncio.get_running_loop().time() + 20
        answers = await batched.answer([Query.of((i,)) for i in range(2)], until)
        assert answers[0] == np.array([0])
        assert isinstance(answers[1], EngineFailed) if 1 not in indexes else answers[1] == np.array([1])
        engine.indexes = [0]
        assert await batched.answer([Query.of((0,))], until) == [np.array([0])]
