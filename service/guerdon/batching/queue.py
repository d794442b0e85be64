"""What waits for a worker: distinct queries in order of arrival, each with all who wait for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from guerdon.batching.budget import BatchSettings, batch_size
from guerdon.domain.queries import Answer, Query

RUN_ALONE_AFTER = 2
"""A query that went down with its worker this often runs alone, so that it can take no neighbour with it."""


@dataclass(slots=True, eq=False)
class Entry:
    """One distinct query, the callers that wait for its answer, and how often a worker died with it."""

    query: Query
    waiters: "list[asyncio.Future[Answer]]" = field(default_factory=list)
    deaths: int = 0
    started: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits."""
        return any(not waiter.done() for waiter in self.waiters)

    def settle(self, answer: Answer) -> None:
        """Deliver to every caller that is still there."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(answer)


class Queue:
    """Entries by query, oldest first. No clock, no task: its owner decides when."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Query, Entry] = OrderedDict()
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, query: Query, waiter: "asyncio.Future[Answer]") -> Entry:
        """Wait for a query's answer, together with whoever waits for the same already."""
        entry = self._entries.get(query)
        if entry is None:
            entry = self._entries[query] = Entry(query)
            self.tokens += len(query.token_ids)
        entry.waiters.append(waiter)
        return entry

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put entries that were cut back to the front, in their order."""
        for entry in reversed(entries):
            waiting = self._entries.pop(entry.query, None)
            if waiting is not None:
                entry.waiters += waiting.waiters
            else:
                self.tokens += len(entry.query.token_ids)
            self._entries[entry.query] = entry
            self._entries.move_to_end(entry.query, last=False)

    def withdraw(self, entry: Entry) -> bool:
        """Take the entry out if nobody waits for it any more; true if that removed it."""
        waiting = self._entries.get(entry.query)
        if waiting is None or waiting.wanted:
            return False
        self._remove(waiting)
        return True

    def cut(self, settings: BatchSettings) -> list[Entry]:
        """Take the next batch from the front."""
        front = list(islice(self._entries.values(), settings.max_batch_items))
        suspects = [index for index, entry in enumerate(front) if entry.deaths >= RUN_ALONE_AFTER]
        if suspects:
            front = front[: max(suspects[0], 1)]
        taken = front[: batch_size([len(entry.query.token_ids) for entry in front], settings)]
        for entry in taken:
            self._remove(entry)
        return taken

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.query]
        self.tokens -= len(entry.query.token_ids)
