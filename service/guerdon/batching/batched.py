"""Batches form while the workers are busy: each takes the next one the moment it has a free slot."""

import asyncio
import logging
from collections.abc import Sequence

from guerdon.batching.budget import BatchSettings
from guerdon.batching.queue import Entry, Queue
from guerdon.domain import trace
from guerdon.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    NotServable,
    Overloaded,
    ServiceError,
    Unavailable,
    WorkerLost,
)
from guerdon.domain.events import BatchDone, Bisected, Dropped, MemorySplit, QueueChanged, Refused
from guerdon.domain.interest import while_wanted
from guerdon.domain.ports import Record
from guerdon.domain.queries import Answer, Query
from guerdon.workers.worker import Batch, Worker, WorkerDied

log = logging.getLogger(__name__)

GONE = "the caller went away"
MAX_DEATHS = 4
"""A query that takes so many workers down is given up."""
RETRY_PAUSE_S = 0.01
MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S = 1.0, 60.0


class Batched:
    """An engine over one or more workers. Neighbours in a batch share nothing but the forward pass."""

    def __init__(
        self, workers: Sequence[Worker], settings: BatchSettings, *, queue_tokens: int, name: str, record: Record
    ) -> None:
        self._workers, self._settings, self._max_queue_tokens = workers, settings, queue_tokens
        self.name, self._record = name, record
        self._queue = Queue()
        self._filled = asyncio.Event()
        self._running = dict.fromkeys(workers, 0)
        self._tokens_per_s = 0.0
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the workers and one loop per slot; returns before the workers are ready."""
        for worker in self._workers:
            await worker.start()
            self._loops += [asyncio.create_task(self._serve(worker)) for _ in range(worker.slots)]

    async def ready(self) -> None:
        """Wait until every worker can run. Raises NotServable."""
        for worker in self._workers:
            await worker.ready()

    @property
    def unready(self) -> str | None:
        """Why no worker can run now; None while one can."""
        if any(worker.up for worker in self._workers):
            return None
        reasons = [worker.failing for worker in self._workers]
        return next((reason for reason in reasons if reason), "starting")

    async def close(self) -> None:
        """Stop the loops and the workers; what waits is answered with `Unavailable`."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for worker in self._workers:
            await worker.close()
        self._fail_waiting("the service is stopping")

    async def answer(self, queries: Sequence[Query], deadline: float) -> list[Answer]:
        """One answer each. Raises Overloaded or Unavailable before anything is started."""
        self._admit(queries)
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        waiters: list[asyncio.Future[Answer]] = [loop.create_future() for _ in queries]
        entries = [self._queue.add(query, waiter) for query, waiter in zip(queries, waiters, strict=True)]
        self._changed()
        late = False
        try:
            if waiters:
                with while_wanted(lambda: self._give_up(entries, waiters)):
                    await asyncio.wait(waiters, timeout=max(deadline - loop.time(), 0))
            late = True
        finally:
            self._withdraw(entries, waiters, late=late)
            _note_work(entries, waiters, asked_at, loop.time())
        expired = DeadlineExceeded("no answer within the time allowed")
        return [waiter.result() if waiter.done() and not waiter.cancelled() else expired for waiter in waiters]

    def _admit(self, queries: Sequence[Query]) -> None:
        reasons = [worker.failing for worker in self._workers]
        if all(reasons):
            raise Unavailable(f"no worker can run {self.name}: {reasons[0]}", retry_after_s=5.0)
        tokens = sum(query.length for query in queries)
        if self._queue.tokens + tokens > self._max_queue_tokens and len(self._queue):
            self._record(Refused(self.name, "queue_full", len(queries)))
            raise Overloaded(
                f"the queue holds {self._queue.tokens} tokens; at most {self._max_queue_tokens} (limits.queue_tokens)",
                retry_after_s=self._drain_s(),
            )

    def _drain_s(self) -> float:
        """How long the queue will take to drain, within reason."""
        if not self._tokens_per_s:
            return MIN_RETRY_AFTER_S
        rate = self._tokens_per_s * max(1, sum(worker.up for worker in self._workers))
        return min(max(MIN_RETRY_AFTER_S, self._queue.tokens / rate), MAX_RETRY_AFTER_S)

    def _give_up(self, entries: Sequence[Entry], waiters: Sequence["asyncio.Future[Answer]"]) -> bool:
        """Leave only what a worker has begun; whether there is such."""
        goes_on = False
        for entry, waiter in zip(entries, waiters, strict=True):
            if waiter.done():
                continue
            if entry.started is None:
                waiter.set_result(Cancelled(GONE))
            else:
                entry.spared, goes_on = (*entry.spared, waiter), True
        if dropped := sum(self._queue.withdraw(entry) for entry in entries):
            self._record(Dropped(self.name, "disconnect", dropped))
            self._changed()
        return goes_on

    def _withdraw(self, entries: Sequence[Entry], waiters: Sequence["asyncio.Future[Answer]"], *, late: bool) -> None:
        """Leave nothing in the queue that nobody waits for."""
        for waiter in waiters:
            waiter.cancel()
        dropped = sum(self._queue.withdraw(entry) for entry in entries)
        if dropped:
            self._record(Dropped(self.name, "deadline" if late else "disconnect", dropped))
        self._changed()

    async def _serve(self, worker: Worker) -> None:
        """One slot of one worker: cut a batch, have it run; again."""
        while True:
            await self._filled.wait()
            try:
                await worker.ready()
            except NotServable as error:
                if all(other.failing for other in self._workers):
                    self._fail_waiting(str(error))
                return
            if any(other.up and self._running[other] < self._running[worker] for other in self._workers):
                await asyncio.sleep(0)  # that one's slot is awake too: the batch is better there than waiting here
                continue
            batch = self._queue.cut(self._settings, shares=worker.shares_prefixes)
            self._changed()
            if batch:
                self._running[worker] += 1
                try:
                    await self._run(worker, batch)
                finally:
                    self._running[worker] -= 1

    async def _run(self, worker: Worker, entries: Sequence[Entry]) -> None:
        now = asyncio.get_running_loop().time()
        for entry in entries:
            entry.started = now

        def deliver(index: int, answer: Answer, computed: int) -> None:
            entries[index].settle(answer, computed)

        try:
            batch = await worker.run([entry.query for entry in entries], deliver)
        except WorkerDied as death:
            self._retry(entries, blamed=death.computing)
            await asyncio.sleep(RETRY_PAUSE_S)  # a worker that refuses at once must not keep the loop from all else
        except asyncio.CancelledError:
            _settle_all(entries, _unavailable("the service is stopping"))
            raise
        except Exception:  # a slot's loop must outlive whatever one batch does to it
            log.exception("batch.failed")
            _settle_all(entries, EngineFailed("the engine failed on this batch"))
        else:
            self._report(entries, batch)

    def _retry(self, entries: Sequence[Entry], *, blamed: bool) -> None:
        """A dead worker costs what it left unanswered a second try, and a query that kills again and again an error."""
        unanswered = [entry for entry in entries if entry.wanted]
        for entry in unanswered:
            entry.deaths += blamed
            if entry.forsaken:
                entry.settle(Cancelled(GONE))
            if entry.deaths >= MAX_DEATHS:
                entry.settle(WorkerLost("the worker died each time it was given this response"))
        self._queue.put_back([entry for entry in unanswered if entry.wanted])
        self._changed()

    def _report(self, entries: Sequence[Entry], batch: Batch) -> None:
        tokens = sum(entry.query.length for entry in entries)
        rate = tokens / max(batch.seconds, 1e-6)
        self._tokens_per_s = rate if not self._tokens_per_s else 0.8 * self._tokens_per_s + 0.2 * rate
        self._record(BatchDone(self.name, len(entries), tokens, batch.work.tokens, batch.seconds))
        for _ in range(batch.work.bisections):
            self._record(Bisected(self.name))
        for _ in range(batch.work.memory_splits):
            self._record(MemorySplit(self.name))

    def _fail_waiting(self, why: str) -> None:
        while entries := self._queue.cut(self._settings, shares=False):
            _settle_all(entries, _unavailable(why))
        self._changed()

    def _changed(self) -> None:
        if len(self._queue):
            self._filled.set()
        else:
            self._filled.clear()
        self._record(QueueChanged(self.name, len(self._queue), self._queue.tokens))


def _settle_all(entries: Sequence[Entry], error: ServiceError) -> None:
    """Give the error to whoever has no answer yet."""
    for entry in entries:
        entry.settle(error)


def _unavailable(why: str) -> Unavailable:
    return Unavailable(why, retry_after_s=5.0)


def _note_work(
    entries: Sequence[Entry], waiters: Sequence["asyncio.Future[Answer]"], asked_at: float, now: float
) -> None:
    """Note the wait until the first batch started, the time from there, and the tokens computed for this call.

    A query that several calls wait for is counted where it was asked first.
    """
    begun = [entry.started for entry in entries if entry.started is not None]
    if not begun:
        trace.current().add("queue", now - asked_at)
        return
    started = max(min(begun), asked_at)
    trace.current().add("queue", started - asked_at)
    trace.current().add("forward", now - started)
    trace.current().tokens_computed += sum(
        entry.computed for entry, waiter in zip(entries, waiters, strict=True) if entry.waiters[0] is waiter
    )
