"""A stage that computes each score once: from the store if it is there, together with others who ask for it now."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from guerdon.cache.keys import score_keys
from guerdon.cache.memory import MemoryStore
from guerdon.domain import trace
from guerdon.domain.errors import DeadlineExceeded, ServiceError
from guerdon.domain.events import CacheLooked
from guerdon.domain.ports import Record, Stage
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome, Score

LANDING_S = 0.1
"""How long past a deadline the scores that are there are waited for."""
CLOCK_S = 0.005
"""Timers may fire so much early."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A computation under way, and how many callers still want something of it."""

    task: "asyncio.Task[dict[bytes, Outcome]]"
    callers: int = 0


class Cached:
    """Scores by content. Errors are never stored.

    A caller that hangs up stops a computation only if nobody else waits for it. One whose time runs out does not:
    what was computed by then is kept, so that its next try gets further.
    """

    def __init__(self, stage: Stage, store: MemoryStore, identity: bytes, *, record: Record) -> None:
        self._stage, self._store, self._identity, self._record = stage, store, identity, record
        self._flights: dict[bytes, _Flight] = {}

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample. Samples with equal content are computed once."""
        with trace.timed("cache"):
            keys = score_keys(self._identity, samples)
            wanted = dict(zip(keys, samples, strict=True))
            found: dict[bytes, Outcome] = {
                key: stored for key in wanted if (stored := self._store.get(key)) is not None
            }
        self._record(self._looked(keys, wanted, found))
        while missing := {key: sample for key, sample in wanted.items() if key not in found}:
            found |= self._final(await self._compute(missing, deadline), deadline)
        return [found[key] for key in keys]

    async def _compute(self, missing: dict[bytes, Sample], deadline: float) -> dict[bytes, Outcome]:
        """Outcomes of the missing samples: those under way are waited for, the others started as one flight."""
        fresh = {key: sample for key, sample in missing.items() if key not in self._flights}
        if fresh:
            flight = _Flight(asyncio.create_task(self._fly(fresh, deadline)))
            self._flights |= dict.fromkeys(fresh, flight)
            flight.task.add_done_callback(lambda _: self._land(fresh))
        flights = {self._flights[key] for key in missing}
        for flight in flights:
            flight.callers += 1
        try:
            tasks = [flight.task for flight in flights]
            # A flight ends by its own deadline and keeps what it has by then: leave it the moment that takes.
            left_s = deadline - asyncio.get_running_loop().time() + LANDING_S
            await asyncio.wait(tasks, timeout=max(left_s, 0))
        except asyncio.CancelledError:
            for flight in flights:
                if flight.callers == 1:
                    flight.task.cancel()
            raise
        finally:
            for flight in flights:
                flight.callers -= 1
        landed: dict[bytes, Outcome] = {}
        for flight in flights:
            if flight.task.done() and not flight.task.cancelled():
                landed |= flight.task.result()
        late = DeadlineExceeded("no answer within the time allowed")
        return {key: landed.get(key, late) for key in missing}

    async def _fly(self, fresh: dict[bytes, Sample], deadline: float) -> dict[bytes, Outcome]:
        """Compute and store. What breaks the stage becomes the outcome of every sample."""
        try:
            outcomes = await self._stage.score(list(fresh.values()), deadline)
        except ServiceError as error:
            outcomes = [error] * len(fresh)
        landed = dict(zip(fresh, outcomes, strict=True))
        for key, outcome in landed.items():
            if isinstance(outcome, Score):
                self._store.put(key, replace(outcome, cached=True))
        return landed

    def _land(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            del self._flights[key]

    def _final(self, landed: dict[bytes, Outcome], deadline: float) -> dict[bytes, Outcome]:
        """What stands. A flight may have ended by the shorter deadline of the caller that started it: try again."""
        if asyncio.get_running_loop().time() >= deadline - CLOCK_S:
            return landed
        return {key: outcome for key, outcome in landed.items() if not isinstance(outcome, DeadlineExceeded)}

    def _looked(self, keys: Sequence[bytes], wanted: dict[bytes, Sample], found: dict[bytes, Outcome]) -> CacheLooked:
        if len(found) == len(wanted):
            return CacheLooked(len(keys), 0, 0, self._store.bytes)
        coalesced = sum(key in self._flights for key in wanted if key not in found)
        hits = sum(key in found for key in keys)
        repeated = len(keys) - len(wanted) - (hits - len(found))
        return CacheLooked(hits, len(keys) - hits - coalesced - repeated, coalesced + repeated, self._store.bytes)
