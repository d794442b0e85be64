"""How much goes into one batch."""

from pydantic import Field

from guerdon.domain.queries import Query
from guerdon.domain.strict import Strict
from guerdon.engines.shared_cost import SharedCost


class BatchSettings(Strict):
    """Limits of one batch. Tokens count once where the engine computes a common prefix once."""

    max_batch_tokens: int = Field(16_384, gt=0)
    max_batch_items: int = Field(256, gt=0)


class Room:
    """What a batch under way still has room for. ``shares``: whether common prefixes are computed once."""

    def __init__(self, settings: BatchSettings, *, shares: bool) -> None:
        self._settings = settings
        self._cost = SharedCost(shares=shares)
        self._items = self._tokens = 0

    @property
    def full(self) -> bool:
        """Whether there is room for nothing more, however short."""
        return self._items >= self._settings.max_batch_items

    def take(self, query: Query) -> bool:
        """Take the query in if it fits. The first always does, however long: a queue must not stop behind it."""
        added = self._cost.added(query)
        if self.full or (self._items and self._tokens + added > self._settings.max_batch_tokens):
            return False
        self._items += 1
        self._tokens += added
        self._cost.add(query)
        return True
