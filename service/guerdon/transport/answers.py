"""The native API's answers, as they are documented; handlers write them by hand."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from guerdon.aggregation import Method
from guerdon.domain.errors import ServiceError
from guerdon.transport.errors import Refusal, described


class ErrorBody(BaseModel):
    """What went wrong: a stable code, a sentence, and the field at fault."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(Refusal):
    """The answer to a request that failed as a whole."""

    error: ErrorBody

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """Code, message and field."""
        return cls(error=ErrorBody.model_validate(described(error)))


class AggregationUsed(BaseModel):
    """The aggregation that made the rewards."""

    method: Method
    coefficient: float | None = None
    level: float | None = None
    weights: dict[str, float] | None = None
    groups: dict[str, list[str]] | None = None
    caps: dict[str, float] | None = None
    ddof: int = Field(description="of `std`, too")


class ResponseError(ErrorBody):
    """What went wrong with one response of an input."""

    response: int


class MemberError(ResponseError):
    """Why a member is missing from the reward of one response."""

    member: str


class JudgeReport(BaseModel):
    """How a judge came to its scores of these responses."""

    model_config = ConfigDict(extra="allow")

    responses: list[int]
    votes: int = Field(description="asked of the model")
    valid: int = Field(description="those with a verdict that could be read")
    kept: int = Field(description="those that count: fewer than valid where a meta reward model chose among them")
    prompt_tokens: int
    completion_tokens: int
    sum: list[float] = Field(description="of the votes that count, for each response")
    mean: list[float]
    refused: list[dict[str, Any]] | None = Field(
        None, description="responses that were not shown to the model, and why"
    )
    preferences: list[list[float]] | None = Field(
        None, description="of judges that compare: P(row is better than column)"
    )
    ballots: list[dict[str, Any]] | None = Field(None, description="with detail: rationale, each vote as it was cast")


class StepReport(BaseModel):
    """How probably each step of a response is right, and what they come to."""

    response: int
    steps: list[float]
    last: float
    min: float
    product: float
    mean: float


Judges = dict[str, list[JudgeReport]]
JUDGES = Field(None, description="by member: of judges, how they came to their scores")


class InputAnswer(BaseModel):
    """Rewards of one input, in the order of its responses; or the error that stands in their place."""

    index: int
    rewards: list[float] | None = None
    std: list[float] | None = Field(None, description="the members' standard deviation, for ensembles")
    members: dict[str, list[float | None]] | None = Field(
        None, description="calibrated scores, with detail: members; null where a member failed"
    )
    members_raw: dict[str, list[float | None]] | None = Field(None, description="the same, not calibrated")
    members_used: list[list[str]] | None = Field(None, description="with on_member_failure: degrade, per response")
    member_errors: list[MemberError] | None = Field(None, description="with degrade: why the others are missing")
    judges: Judges | None = JUDGES
    steps: dict[str, list[StepReport]] | None = Field(None, description="with detail: steps, by member")
    truncated: list[bool] | None = None
    kept: list[int] | None = Field(None, description="with partial: which responses `rewards` speaks of")
    errors: list[ResponseError] | None = Field(None, description="with partial: the others")
    error: ErrorBody | None = None


class Usage(BaseModel):
    """The work behind an answer."""

    responses: int
    cached: int = Field(description="responses whose scores were all in the cache")
    tokens: int = Field(description="tokens of the rewarded responses with their prompts")
    tokens_computed: int = Field(description="tokens the engines were asked to compute for this request")


class ScoreAnswer(BaseModel):
    """Rewards, one list per input."""

    id: str
    model: str
    revision: str
    data: list[InputAnswer]
    aggregation: AggregationUsed | None = None
    usage: Usage


class RerankResult(BaseModel):
    """One response's place."""

    index: int
    relevance_score: float
    std: float | None = None
    members: dict[str, float] | None = None
    members_used: list[str] | None = Field(None, description="with on_member_failure: degrade")
    truncated: bool
    document: dict[str, Any] | None = None


class RerankAnswer(BaseModel):
    """Responses, best first; equal rewards keep the order they came in."""

    id: str
    model: str
    revision: str
    results: list[RerankResult]
    errors: list[ResponseError] | None = None
    member_errors: list[MemberError] | None = Field(None, description="with degrade: why members are missing")
    judges: Judges | None = JUDGES
    aggregation: AggregationUsed | None = None
    usage: Usage


class Strength(BaseModel):
    """How strongly, and how unanimously, the members prefer a pair's first response."""

    mean: float = Field(description="of the members' calibrated margins")
    std: float = Field(description="of the margins")
    agreement: float = Field(description="share of members on the side of the majority, 0.5 to 1")


class ComparedAnswer(BaseModel):
    """How the responses of one input compare; or the error that stands in its place."""

    index: int
    pairs: list[list[int]] | None = None
    probability: list[float] | None = Field(None, description="of each pair: that its first response is the better")
    win_rate: list[float] | None = Field(None, description="of each response: its mean probability over the others")
    rewards: list[float] | None = None
    strength: list[Strength | None] | None = Field(
        None, description="of each pair, for ensembles; null where no member scored both"
    )
    members_used: list[list[str]] | None = Field(None, description="with on_member_failure: degrade, per response")
    member_errors: list[MemberError] | None = Field(None, description="with degrade: why the others are missing")
    judges: Judges | None = JUDGES
    error: ErrorBody | None = None


class CompareAnswer(BaseModel):
    """Comparisons, one entry per input."""

    id: str
    model: str
    revision: str
    data: list[ComparedAnswer]
    aggregation: AggregationUsed | None = None
    usage: Usage


class ModelCard(BaseModel):
    """One thing that can be called by name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: str
    revision: str
    members: list[str]
    aggregation: AggregationUsed | None = None
    uses: list[str]
    limits: dict[str, int | None]


class ModelList(BaseModel):
    """Everything that can be called by name."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
