"""A stage that computes each score once: from a store if it is there, together with others who ask for it now."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from guerdon.cache.keys import identity, score_keys
from guerdon.cache.memory import MemoryStore
from guerdon.cache.redis_store import RedisStore, Shelf
from guerdon.domain import caller, trace
from guerdon.domain.caller import Caller
from guerdon.domain.errors import Cancelled, DeadlineExceeded, ServiceError
from guerdon.domain.events import CacheLooked, StoreAwaited
from guerdon.domain.interest import Interest
from guerdon.domain.ports import Record, Stage
from guerdon.domain.samples import Sample
from guerdon.domain.scores import Outcome, Score

LANDING_S = 0.1
"""How long past a deadline the scores that are there are waited for."""
CLOCK_S = 0.005
"""Timers may fire so much early."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A computation under way, how many callers still want something of it, and whether one wants it stored."""

    writes: bool
    task: "asyncio.Task[dict[bytes, Outcome]]" = field(init=False)
    callers: int = 0
    interest: Interest = field(default_factory=Interest)


class Cached:
    """Scores by tenant and content. Errors are never stored.

    A caller that hangs up stops a computation only if nobody else waits for it, and only what no worker has begun:
    the rest is kept for its next try. One whose time runs out stops nothing, so that its next try gets further.
    """

    def __init__(
        self,
        stage: Stage,
        store: MemoryStore,
        identity: bytes,
        *,
        record: Record,
        name: str = "",
        shared: RedisStore | None = None,
    ) -> None:
        """``name`` is the scorer's: where its scores stand in the ``shared`` store."""
        self._stage, self._store, self._identity, self._record = stage, store, identity, record
        self._name, self._shared = name, shared
        self._flights: dict[bytes, _Flight] = {}

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample. Samples with equal content are computed once."""
        asking = caller.current()
        with trace.timed("cache"):
            keys = score_keys(identity((asking.tenant, self._identity.hex())), samples)
            wanted = dict(zip(keys, samples, strict=True))
        if not asking.reads:
            afresh = await self._asked(wanted, deadline)
            if asking.writes:
                self._keep(Shelf(asking.tenant, self._name), afresh)
            return [afresh[key] for key in keys]
        with trace.timed("cache"):
            found: dict[bytes, Outcome] = {
                key: stored for key in wanted if (stored := self._store.get(key)) is not None
            }
        self._record(self._looked(keys, wanted, found))
        while missing := {key: sample for key, sample in wanted.items() if key not in found}:
            found |= self._final(await self._compute(missing, asking, deadline), deadline)
        return [found[key] for key in keys]

    async def _compute(self, missing: dict[bytes, Sample], asking: Caller, deadline: float) -> dict[bytes, Outcome]:
        """Outcomes of the missing samples: those under way are waited for, the others started as one flight."""
        fresh = {key: sample for key, sample in missing.items() if key not in self._flights}
        if fresh:
            flight = _Flight(asking.writes)
            with flight.interest.felt():
                flight.task = asyncio.create_task(self._fly(fresh, flight, Shelf(asking.tenant, self._name), deadline))
            self._flights |= dict.fromkeys(fresh, flight)
            flight.task.add_done_callback(lambda _: self._land(fresh))
        flights = {self._flights[key] for key in missing}
        for flight in flights:
            flight.callers += 1
            flight.writes |= asking.writes
        try:
            tasks = [flight.task for flight in flights]
            # A flight ends by its own deadline and keeps what it has by then: leave it the moment that takes.
            left_s = deadline - asyncio.get_running_loop().time() + LANDING_S
            await asyncio.wait(tasks, timeout=max(left_s, 0))
        except asyncio.CancelledError:
            for flight in flights:
                if flight.callers == 1 and not flight.interest.lost():
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

    async def _fly(
        self, fresh: dict[bytes, Sample], flight: _Flight, shelf: Shelf, deadline: float
    ) -> dict[bytes, Outcome]:
        """From the shared store if it is there, else computed and stored."""
        if self._shared is None:
            landed = await self._asked(fresh, deadline)
            if flight.writes:
                self._keep(shelf, landed)
            return landed
        with trace.timed("cache"):
            found = await self._shared.get(shelf, list(fresh))
        self._remember(found)
        missing = {key: sample for key, sample in fresh.items() if key not in found}
        if not missing:
            return dict(found)
        if not flight.writes:
            computed = await self._asked(missing, deadline)
            if flight.writes:  # on account of another caller, that has joined
                self._keep(shelf, computed)
            return found | computed
        return found | await self._shared_out(self._shared, missing, shelf, deadline)

    async def _shared_out(
        self, shared: RedisStore, missing: dict[bytes, Sample], shelf: Shelf, deadline: float
    ) -> dict[bytes, Outcome]:
        """Each computed by one of the services that want it now, where they can agree in time."""
        loop = asyncio.get_running_loop()
        with trace.timed("cache"):
            mine = await shared.claim(shelf, list(missing))
        claimed_at = loop.time()
        landed: dict[bytes, Outcome] = {}
        try:
            landed |= await self._asked({key: missing[key] for key in missing if key in mine}, deadline)
        finally:  # before others are waited for: they may be waiting for these
            self._keep(shelf, landed, release=mine)
        others = [key for key in missing if key not in mine]
        if others:
            until = min(claimed_at + shared.claim_s, (loop.time() + deadline) / 2)
            with trace.timed("cache"):
                delivered = await shared.delivered(shelf, others, until)
            self._remember(delivered)
            left = {key: missing[key] for key in others if key not in delivered}
            self._record(StoreAwaited(len(delivered), len(left)))
            computed = await self._asked(left, deadline)
            self._keep(shelf, computed)
            landed |= delivered | computed
        return landed

    async def _asked(self, samples: dict[bytes, Sample], deadline: float) -> dict[bytes, Outcome]:
        """Computed. What breaks the stage becomes the outcome of every sample."""
        if not samples:
            return {}
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._stage.score(list(samples.values()), deadline)
        except ServiceError as error:
            outcomes = [error] * len(samples)
        return dict(zip(samples, outcomes, strict=True))

    def _keep(self, shelf: Shelf, outcomes: Mapping[bytes, Outcome], release: Collection[bytes] = ()) -> None:
        """Store the scores among the outcomes, here and in the shared store."""
        scores = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Score)}
        self._remember(scores)
        if self._shared is not None:
            self._shared.put(shelf, scores, release)

    def _remember(self, scores: Mapping[bytes, Score]) -> None:
        for key, score in scores.items():
            self._store.put(key, score if score.cached else replace(score, cached=True))

    def _land(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            del self._flights[key]

    def _final(self, landed: dict[bytes, Outcome], deadline: float) -> dict[bytes, Outcome]:
        """What stands. A flight may have ended by the deadline, or the leaving, of who started it: try again."""
        theirs = (DeadlineExceeded, Cancelled)
        if asyncio.get_running_loop().time() >= deadline - CLOCK_S:
            late = DeadlineExceeded("no answer within the time allowed")
            return {key: late if isinstance(outcome, theirs) else outcome for key, outcome in landed.items()}
        return {key: outcome for key, outcome in landed.items() if not isinstance(outcome, theirs)}

    def _looked(self, keys: Sequence[bytes], wanted: dict[bytes, Sample], found: dict[bytes, Outcome]) -> CacheLooked:
        if len(found) == len(wanted):
            return CacheLooked(len(keys), 0, 0, self._store.bytes)
        coalesced = sum(key in self._flights for key in wanted if key not in found)
        hits = sum(key in found for key in keys)
        repeated = len(keys) - len(wanted) - (hits - len(found))
        return CacheLooked(hits, len(keys) - hits - coalesced - repeated, coalesced + repeated, self._store.bytes)
