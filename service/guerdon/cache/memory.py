"""Scores in this process: the least recently used go first."""

from collections import OrderedDict

import orjson

from guerdon.domain.scores import Score

ENTRY_OVERHEAD_BYTES = 500
"""What an entry takes besides its numbers: key, objects, table slots (measured on CPython 3.11)."""
BYTES_PER_VALUE = 32
BYTES_PER_REPORTED = 4
"""A report's objects take more than its JSON."""


class MemoryStore:
    """Keeps as many scores as fit in ``max_bytes``. 0 keeps none."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> Score | None:
        """The stored score, now the most recently used."""
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: bytes, score: Score) -> None:
        """Store a score, and drop the oldest ones until it fits."""
        size = size_of(score)
        if size > self._max_bytes:
            return
        replaced = self._scores.pop(key, None)
        self.bytes += size - (size_of(replaced) if replaced is not None else 0)
        self._scores[key] = score
        while self.bytes > self._max_bytes:
            _, oldest = self._scores.popitem(last=False)
            self.bytes -= size_of(oldest)


def size_of(score: Score) -> int:
    """Bytes that an entry takes, about."""
    reported = 0 if score.report is None else BYTES_PER_REPORTED * len(orjson.dumps(score.report))
    return ENTRY_OVERHEAD_BYTES + sum(80 + BYTES_PER_VALUE * len(row) for row in score.values) + reported
