"""What a stage tells those who watch it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CacheLooked:
    """Samples were looked up: each was found, missing, or already being computed for another caller."""

    hits: int
    misses: int
    coalesced: int
    stored_bytes: int


Operation = Literal["probe", "read", "claim", "write"]


@dataclass(frozen=True, slots=True)
class StoreAsked:
    """Scores were looked for in the shared store: each was found, missing, or damaged."""

    hits: int
    misses: int
    damaged: int


@dataclass(frozen=True, slots=True)
class StoreAwaited:
    """Scores that another service was computing: those that it delivered, and those that had to be computed here."""

    delivered: int
    given_up: int


@dataclass(frozen=True, slots=True)
class StoreWrote:
    """What became of scores that were to be stored in the shared store."""

    result: Literal["stored", "failed", "dropped"]
    scores: int


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The shared store did not answer, or refused."""

    operation: Operation
    kind: Literal["timeout", "refused", "memory", "connection", "other"]


@dataclass(frozen=True, slots=True)
class StoreMoved:
    """The shared store is left alone from now on, or is back."""

    out: bool


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """What waits for a worker now."""

    engine: str
    items: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Items left the queue without being computed."""

    engine: str
    reason: Literal["disconnect", "deadline"]
    items: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Items were not let into the queue."""

    engine: str
    reason: Literal["queue_full"]
    items: int


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A worker answered a batch: for ``tokens`` asked it computed ``computed``.

    Padding makes them more than was asked, a prefix that is computed once for several queries makes them less.
    """

    engine: str
    items: int
    tokens: int
    computed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bisected:
    """A batch failed as a whole and was halved."""

    engine: str


@dataclass(frozen=True, slots=True)
class MemorySplit:
    """A batch, or a part of one, did not fit the device's memory and was halved."""

    engine: str


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker is ready to compute."""

    engine: str
    replica: int


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker died, hung or was stopped."""

    engine: str
    replica: int
    reason: Literal["died", "hung", "failed_to_load", "closed"]


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A model rewarded responses; ``disagreements`` are its members' standard deviations, none for a single scorer."""

    model: str
    rewards: Sequence[float]
    disagreements: Sequence[float]


@dataclass(frozen=True, slots=True)
class Missing:
    """A member failed on so many responses that were rewarded without it."""

    model: str
    member: str
    items: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A model could not reward one response."""

    model: str
    code: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge scored responses: by so many votes, of which so many held a verdict.

    ``refused`` are the reasons for which its guard kept responses from it.
    """

    scorer: str
    votes: int
    valid: int
    refused: Sequence[str] = ()


Event = (
    CacheLooked
    | StoreAsked
    | StoreAwaited
    | StoreWrote
    | StoreFailed
    | StoreMoved
    | QueueChanged
    | Dropped
    | Refused
    | BatchDone
    | Bisected
    | MemorySplit
    | WorkerUp
    | WorkerDown
    | Rewarded
    | Missing
    | Failed
    | Judged
)
