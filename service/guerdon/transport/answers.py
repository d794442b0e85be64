"""The native API's answers, as they are documented; handlers write them by hand."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorBody(BaseModel):
    """What went wrong: a stable code, a sentence, and the field at fault."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(BaseModel):
    """The answer to a request that failed as a whole."""

    error: ErrorBody


class AggregationUsed(BaseModel):
    """The aggregation that made the rewards."""

    method: Literal["mean", "wco", "uwo"]
    coefficient: float
    ddof: int


class ResponseError(ErrorBody):
    """What went wrong with one response of an input."""

    response: int


class InputAnswer(BaseModel):
    """Rewards of one input, in the order of its responses; or the error that stands in their place."""

    index: int
    rewards: list[float] | None = None
    std: list[float] | None = Field(None, description="the members' standard deviation, for ensembles")
    members: dict[str, list[float]] | None = Field(None, description="calibrated scores, with detail: members")
    members_raw: dict[str, list[float]] | None = Field(None, description="raw scores, with detail: members")
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
    truncated: bool
    document: dict[str, Any] | None = None


class RerankAnswer(BaseModel):
    """Responses, best first; equal rewards keep the order they came in."""

    id: str
    model: str
    revision: str
    results: list[RerankResult]
    errors: list[ResponseError] | None = None
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
