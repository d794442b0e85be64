"""How much goes into one batch."""

from collections.abc import Sequence

from pydantic import Field

from guerdon.domain.strict import Strict


class BatchSettings(Strict):
    """Limits of one batch."""

    max_batch_tokens: int = Field(16_384, gt=0)
    max_batch_items: int = Field(256, gt=0)


def batch_size(token_counts: Sequence[int], settings: BatchSettings) -> int:
    """How many items to take from the front of the queue: as many as the budget has room for.

    The first is always taken, however long: a queue must not stop behind it.
    """
    tokens = 0
    for taken, count in enumerate(token_counts[: settings.max_batch_items]):
        tokens += count
        if taken and tokens > settings.max_batch_tokens:
            return taken
    return min(len(token_counts), settings.max_batch_items)
