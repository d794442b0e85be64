"""Workers in child processes that die, hang and mislead, and the batching in front of them."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from fault_child import DIE, DIE_ONCE, SHORT, SLOW, STOP
from guerdon.batching.batched import Batched
from guerdon.batching.budget import BatchSettings
from guerdon.domain.errors import DeadlineExceeded, NotServable, Overloaded, Unavailable, WorkerLost
from guerdon.domain.events import BatchDone, Dropped, QueueChanged, Refused, WorkerDown, WorkerUp
from guerdon.domain.queries import Query
from guerdon.workers.process import ProcessWorker
from guerdon.workers.settings import WorkerSettings

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

    def batches(self):
        return [int(line.split()[1]) for line in self.log.read_text().splitlines()]

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def sums(self, *firsts, seconds=30.0):
        deadline = asyncio.get_running_loop().time() + seconds
        queries = [Query((first, 1, 1)) for first in firsts]
        answers = await self.engine.answer(queries, deadline)
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
    """A child that answers short is taken down, and no answer lands at the wrong caller."""
    async with rig() as made:
        answers = await made.sums(1, SHORT, 2, seconds=60)
        assert answers[0] == 3.0
        assert answers[2] == 4.0
        assert isinstance(answers[1], WorkerLost)


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
