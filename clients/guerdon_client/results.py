"""What the service answers, as plain values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload

from guerdon_client.errors import GuerdonError, not_guerdon
from guerdon_client.requests import Json

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The work behind an answer: responses, and how many were stored; tokens, and how many were computed."""

    responses: int = 0
    cached: int = 0
    tokens: int = 0
    tokens_computed: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            responses=self.responses + other.responses,
            cached=self.cached + other.cached,
            tokens=self.tokens + other.tokens,
            tokens_computed=self.tokens_computed + other.tokens_computed,
        )


@dataclass(frozen=True, slots=True)
class ResponseProblem:
    """Why one response has no reward, or lacks one member's score."""

    response: int
    error: GuerdonError
    member: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult(Sequence[float]):
    """The rewards of one input, in the order of its responses; as a sequence, it is those rewards.

    ``std`` and ``members`` (with ``detail="members"``) are an ensemble's. With ``partial=True``, ``rewards`` speaks of
    the responses in ``kept``, and ``errors`` of the others.
    """

    rewards: tuple[float, ...]
    std: tuple[float, ...] | None = None
    members: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    members_raw: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    members_used: tuple[tuple[str, ...], ...] | None = None
    member_errors: tuple[ResponseProblem, ...] = ()
    truncated: tuple[bool, ...] = ()
    kept: tuple[int, ...] | None = None
    errors: tuple[ResponseProblem, ...] = ()
    more: Json = field(default_factory=dict)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...
    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        return self.rewards[index]

    def __len__(self) -> int:
        return len(self.rewards)

    def array(self) -> "NDArray[numpy.float64]":
        """The rewards as an array; numpy must be installed."""
        import numpy

        return numpy.asarray(self.rewards, dtype=numpy.float64)

    def by_response(self, responses: int) -> list[float | None]:
        """One reward for each of so many responses; None for those that have an error."""
        if self.kept is None:
            return list(self.rewards)
        found = dict(zip(self.kept, self.rewards, strict=True))
        return [found.get(index) for index in range(responses)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBatch(Sequence["ScoreResult | GuerdonError"]):
    """One result per input, in order; with ``errors="return"`` an error where an input failed."""

    results: tuple["ScoreResult | GuerdonError", ...]
    model: str
    revision: str
    aggregation: Json | None
    usage: Usage

    @overload
    def __getitem__(self, index: int) -> "ScoreResult | GuerdonError": ...
    @overload
    def __getitem__(self, index: slice) -> tuple["ScoreResult | GuerdonError", ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def good(self) -> Iterator[ScoreResult]:
        """The inputs that have rewards. Raises GuerdonError at the first that has none."""
        for result in self.results:
            if isinstance(result, GuerdonError):
                raise result
            yield result


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One response's place: ``index`` is where it stood in the request."""

    index: int
    relevance_score: float
    std: float | None = None
    members: Mapping[str, float] = field(default_factory=dict)
    members_used: tuple[str, ...] | None = None
    truncated: bool = False
    document: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankResult(Sequence[Ranked]):
    """Responses, best first."""

    results: tuple[Ranked, ...]
    model: str
    revision: str
    aggregation: Json | None
    usage: Usage
    errors: tuple[ResponseProblem, ...] = ()
    member_errors: tuple[ResponseProblem, ...] = ()
    more: Json = field(default_factory=dict)

    @overload
    def __getitem__(self, index: int) -> Ranked: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How strongly, and how unanimously, an ensemble's members prefer a pair's first response."""

    mean: float
    std: float
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How probably each pair's first response is the better one, and how often each response wins."""

    pairs: tuple[tuple[int, int], ...]
    probability: tuple[float, ...]
    win_rate: tuple[float, ...]
    rewards: tuple[float, ...] = ()
    strength: tuple[Strength | None, ...] | None = None
    members_used: tuple[tuple[str, ...], ...] | None = None
    member_errors: tuple[ResponseProblem, ...] = ()
    more: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Something that can be called by name."""

    name: str
    kind: str
    revision: str
    members: tuple[str, ...] = ()
    aggregation: Json | None = None
    uses: frozenset[str] = frozenset()
    max_tokens: int | None = None
    max_inputs: int | None = None
    max_responses: int | None = None


def parsed(read: Callable[[], T]) -> T:
    """What ``read`` makes of an answer. Raises GuerdonError where the answer is none of Guerdon's."""
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as problem:
        raise not_guerdon(200) from problem
