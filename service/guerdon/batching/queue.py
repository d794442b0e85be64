"""What waits for a worker: distinct queries in order of arrival, each with all who wait for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from guerdon.batching.budget import BatchSettings, Room
from guerdon.batching.prefix_index import PASS_OVER, PrefixIndex
from guerdon.domain.queries import Answer, Query

RUN_ALONE_AFTER = 2
"""A query that went down with its worker this often runs alone, so that it can take no neighbour with it."""


@dataclass(slots=True, eq=False)
class Entry:
    """One distinct query, the callers that wait for its answer, and what became of it.

    ``deaths`` is how often a worker died with it, ``computed`` the tokens that were computed for it. ``spared`` are
    waiters whose callers have gone: what a worker has begun for them is finished, but not begun again.
    """

    query: Query
    waiters: "list[asyncio.Future[Answer]]" = field(default_factory=list)
    deaths: int = 0
    started: float | None = None
    computed: int = 0
    spared: "tuple[asyncio.Future[Answer], ...]" = ()

    @property
    def forsaken(self) -> bool:
        """Whether none of those who still wait has a caller."""
        return all(waiter.done() or waiter in self.spared for waiter in self.waiters)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits. The last to ask are the last to give up."""
        return any(not waiter.done() for waiter in reversed(self.waiters))

    @property
    def suspect(self) -> bool:
        """Whether it is to run alone."""
        return self.deaths >= RUN_ALONE_AFTER

    def settle(self, answer: Answer, computed: int = 0) -> None:
        """Deliver to every caller that is still there."""
        self.computed += computed
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(answer)


class Queue:
    """Entries by query, oldest first. No clock, no task: its owner decides when.

    To cut a batch costs what the batch holds, however many wait.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Query, Entry] = OrderedDict()
        self._index = PrefixIndex()
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, query: Query, waiter: "asyncio.Future[Answer]") -> Entry:
        """Wait for a query's answer, together with whoever waits for the same already."""
        entry = self._entries.get(query)
        if entry is None:
            entry = self._entries[query] = Entry(query)
            self._index.add(query)
            self.tokens += query.length
        entry.waiters.append(waiter)
        return entry

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put entries that were cut back to the front, in their order."""
        for entry in reversed(entries):
            waiting = self._entries.pop(entry.query, None)
            if waiting is not None:
                entry.waiters += waiting.waiters
            else:
                self._index.add(entry.query)
                self.tokens += entry.query.length
            self._entries[entry.query] = entry
            self._entries.move_to_end(entry.query, last=False)

    def withdraw(self, entry: Entry) -> bool:
        """Take the entry out if nobody waits for it any more; true if that removed it."""
        waiting = self._entries.get(entry.query)
        if waiting is None or waiting.wanted:
            return False
        self._remove(waiting)
        return True

    def cut(self, settings: BatchSettings, *, shares: bool) -> list[Entry]:
        """Take the next batch: the oldest entry and its mates, the next oldest and its mates, while there is room.

        Mates are those that share at least half of their tokens with it. Unless the engine ``shares`` the work on
        common prefixes, there are none.
        """
        if self._fits_whole(settings):
            return self._take_all()
        room = Room(settings, shares=shares)
        taken: list[Entry] = []
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if (taken and oldest.suspect) or not room.take(oldest.query):
                break
            self._remove(oldest)
            taken.append(oldest)
            if oldest.suspect:
                break
            if shares:
                taken += self._take_mates(oldest.query, room)
        return taken

    def _fits_whole(self, settings: BatchSettings) -> bool:
        """Whether there is room for all that waits, whatever it shares."""
        few = len(self._entries) <= settings.max_batch_items and self.tokens <= settings.max_batch_tokens
        return few and not any(entry.suspect for entry in self._entries.values())

    def _take_all(self) -> list[Entry]:
        taken = list(self._entries.values())
        self._entries.clear()
        self._index = PrefixIndex()
        self.tokens = 0
        return taken

    def _take_mates(self, query: Query, room: Room) -> list[Entry]:
        """Take the query's mates for which there is room, until too many have found none."""
        taken: list[Entry] = []
        refused = 0
        for mate in self._index.mates(query):
            if room.full or refused == PASS_OVER:
                break
            entry = self._entries[mate]
            if not entry.suspect and room.take(mate):
                taken.append(entry)
            else:
                refused += 1
        for entry in taken:
            self._remove(entry)
        return taken

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.query]
        self._index.remove(entry.query)
        self.tokens -= entry.query.length
