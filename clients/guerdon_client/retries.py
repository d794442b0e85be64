"""When to ask again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from guerdon_client.errors import GuerdonError, Unreachable

RETRIED_STATUSES = frozenset({408, 429, 502, 503})
COPIES = 10
"""So many of one request are under way at most, where the number of attempts has no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How one request is sent again, within the time that the client allows it; at most ``attempts`` times (None: any).

    Waits are drawn evenly between 0 and a bound that starts at ``first_s`` and doubles up to ``longest_s``; what the
    service asks for in Retry-After comes on top. With ``attempt_s``, a request that has no answer after so long is sent
    again, on another connection, and the first is left open, ten in all unless ``attempts`` says otherwise: the
    service computes them once, and the answer that comes first counts.
    """

    attempts: int | None = None
    first_s: float = 0.1
    longest_s: float = 10.0
    attempt_s: float | None = None

    def wait_s(self, problem: GuerdonError, *, attempt: int, left_s: float, drawn: float) -> float | None:
        """How long to wait after the ``attempt``-th failed; None: give up. ``drawn`` lies between 0 and 1."""
        if (self.attempts is not None and attempt >= self.attempts) or not _passing(problem):
            return None
        bound_s = min(self.longest_s, self.first_s * 2 ** min(attempt - 1, 30))
        wait_s = (problem.retry_after_s or 0.0) + drawn * bound_s
        return wait_s if wait_s < left_s else None

    def copies_at(self, timeout_s: float, hedge_after_s: float | None) -> tuple[float, ...]:
        """When further copies of a request are sent that has no answer yet, in seconds after the first."""
        times = [] if hedge_after_s is None else [hedge_after_s]
        if self.attempt_s is not None:
            times += [self.attempt_s * n for n in range(1, self.attempts or COPIES)]
        return tuple(sorted(time for time in times if time < timeout_s))


ONCE = Retries(attempts=1)


def _passing(problem: GuerdonError) -> bool:
    return isinstance(problem, Unreachable) or problem.status in RETRIED_STATUSES


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """What the header asks for, given in seconds or as a date; None where it says nothing."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
