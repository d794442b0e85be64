"""The native API's bodies, as callers write them."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from guerdon.aggregation import PARAMETERS, Aggregation, Method
from guerdon.domain.caller import CacheUse
from guerdon.domain.samples import Message, Sample, Turns, assistant, user
from guerdon.domain.strict import Strict


class _FirstFault(FailFast):
    """Stop at a list's first fault: a body may hold a million, and one is told. Hashable, so that unions take it."""

    __hash__ = object.__hash__


FIRST_FAULT = _FirstFault()

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(Strict):
    """A piece of a message's content."""

    type: Literal["text"] = "text"
    text: str


class MessageBody(Strict):
    """One turn of a conversation."""

    role: Role
    content: str | list[TextPart]

    def message(self) -> Message:
        """The turn, its parts joined."""
        if isinstance(self.content, str):
            return Message(self.role, self.content)
        return Message(self.role, "".join(part.text for part in self.content))


def _number(given: Any) -> Any:
    if isinstance(given, bool | str):
        raise ValueError("a number is needed")
    return given


Number = Annotated[float, BeforeValidator(_number)]


class AggregationBody(Strict):
    """How an ensemble's members become one reward; what is left out comes from the model's configuration.

    Where that names another method, what it says of that method's own parameters is not taken over.
    """

    method: Method | None = Field(None, description="see the description of ensembles; wco is the minimum")
    coefficient: Number | None = Field(None, ge=0, le=1000, description="lambda of uwo: mean - lambda * variance")
    ddof: Annotated[Literal[0, 1], BeforeValidator(_number)] | None = Field(
        None, description="0: population variance, 1: sample variance"
    )
    level: Number | None = Field(None, ge=0, le=1, description="of quantile, or the share of members in cvar")
    weights: dict[str, Number] | None = Field(None, min_length=1, description="by member")
    groups: dict[str, list[str]] | None = Field(None, min_length=1, description="of maxmin: lists of members")
    caps: dict[str, Number] | None = Field(None, min_length=1, description="of capped: proxy points by member")

    def over(self, default: Aggregation | None) -> Aggregation:
        """The complete aggregation. Raises ValidationError where its parts do not go together."""
        base = default or Aggregation()
        method = base.method if self.method is None else self.method
        kept = base.parameters() if method == base.method else {}
        given = {name: getattr(self, name) for name in PARAMETERS if getattr(self, name) is not None}
        return Aggregation(method=method, ddof=base.ddof if self.ddof is None else self.ddof, **(kept | given))


MemberFailure = Literal["error", "degrade"]
"""What a failed member does to a response: fail it, or leave its reward to the other members."""
ON_MEMBER_FAILURE = Field(None, description="degrade: leave the reward to the members that answered")

Cache = Annotated[CacheUse, Field(description="whether stored scores will do, and whether these are to be stored")]

ResponseBody = str | Annotated[list[MessageBody], FIRST_FAULT]


class _Conversation(Strict):
    prompt: str | None = Field(None, description="the conversation so far, if it is one user turn")
    messages: Annotated[list[MessageBody], FIRST_FAULT] | None = Field(
        None, min_length=1, description="the conversation so far"
    )
    reference: str | None = Field(None, description="a gold answer, for models that use one")
    principle: str | None = Field(None, description="a criterion in words, for models that use one")

    @model_validator(mode="after")
    def _one_conversation(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either `prompt` or `messages`")
        return self

    def _turns(self) -> Turns:
        if self.prompt is not None:
            return user(self.prompt)
        return tuple(body.message() for body in self.messages or ())


class InputBody(_Conversation):
    """A conversation, and the responses to it that are to be rewarded."""

    responses: Annotated[list[ResponseBody], FIRST_FAULT] = Field(min_length=1)
    metadata: dict[str, Any] | None = Field(None, description="yours; it changes nothing")

    def sample(self) -> Sample:
        """What the gateway is asked."""
        return Sample(
            messages=self._turns(),
            responses=tuple(_turns_of(response) for response in self.responses),
            reference=self.reference,
            principle=self.principle,
        )


Seed = Annotated[
    int | None,
    Field(ge=0, lt=1 << 31, description="of a judge's sampling and shuffles: another seed, another opinion"),
]


class ScoreRequest(Strict):
    """Reward the responses of one or more conversations."""

    model: str = Field("default", max_length=200)
    inputs: Annotated[list[InputBody], FIRST_FAULT] = Field(min_length=1)
    aggregation: AggregationBody | None = None
    on_member_failure: MemberFailure | None = ON_MEMBER_FAILURE
    detail: Literal["rewards", "members", "steps", "rationale"] = Field(
        "rewards",
        description="members: what each member said; steps: and of each step; rationale: and what judges wrote",
    )
    seed: Seed = None
    partial: bool = Field(False, description="reward what can be rewarded of an input, and list what cannot")
    cache: Cache = "read-write"
    run: str | None = Field(None, max_length=200, description="your training run; it changes nothing")
    step: int | None = Field(None, ge=0, description="your training step; it changes nothing")


Pair = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]


class ComparedBody(InputBody):
    """A conversation, and the responses to it that are to be compared."""

    responses: Annotated[list[ResponseBody], FIRST_FAULT] = Field(min_length=2)
    pairs: Annotated[list[Pair], FIRST_FAULT] | None = Field(
        None, min_length=1, description="which responses to compare, by index; by default each with each"
    )

    @field_validator("pairs")
    @classmethod
    def _pairs_of_two(cls, pairs: list[list[int]] | None, known: ValidationInfo) -> list[list[int]] | None:
        responses = len(known.data.get("responses", ()))
        for index, (first, second) in enumerate(pairs or ()):
            if max(first, second) >= responses:
                raise ValueError(f"pair {index}: there are {responses} responses, counted from 0")
            if first == second:
                raise ValueError(f"pair {index}: a response is not compared with itself")
        return pairs


class CompareRequest(Strict):
    """Say how probably each response of a pair is the better one, and how often each wins."""

    model: str = Field("default", max_length=200)
    inputs: Annotated[list[ComparedBody], FIRST_FAULT] = Field(min_length=1)
    aggregation: AggregationBody | None = None
    on_member_failure: MemberFailure | None = ON_MEMBER_FAILURE
    seed: Seed = None
    cache: Cache = "read-write"


class Document(BaseModel):
    """A response as rerank clients may send it: what else they keep with it changes nothing."""

    model_config = ConfigDict(frozen=True)
    text: str


class RerankRequest(Strict):
    """Rank responses to one conversation, best first. The keys are those of Cohere's and Jina's rerankers, and ours."""

    model: str = Field("default", max_length=200)
    query: str | None = Field(None, description="the prompt")
    messages: Annotated[list[MessageBody], FIRST_FAULT] | None = Field(
        None, min_length=1, description="instead of `query`"
    )
    documents: Annotated[list[str | Document], FIRST_FAULT] | None = Field(
        None, min_length=1, description="the responses"
    )
    responses: Annotated[list[ResponseBody], FIRST_FAULT] | None = Field(
        None, min_length=1, description="instead of `documents`"
    )
    reference: str | None = None
    principle: str | None = None
    seed: Seed = None
    top_n: int | None = Field(None, ge=0, description="0, as if left out: all")
    return_documents: bool = False
    activation: Literal["none", "sigmoid"] = "none"
    aggregation: AggregationBody | None = None
    on_member_failure: MemberFailure | None = ON_MEMBER_FAILURE
    partial: bool = Field(False, description="rank what can be rewarded, and list what cannot under `errors`")
    cache: Cache = "read-write"
    use_activation: bool | None = Field(None, description="vLLM's: true is the same as activation: sigmoid")
    raw_scores: bool | None = Field(None, description="TEI's and Infinity's: false is the same as activation: sigmoid")
    truncate_prompt_tokens: int | None = Field(None, description="read, without effect: the model's own limit holds")
    max_tokens_per_doc: int | None = Field(None, description="read, without effect: the model's own limit holds")
    max_chunks_per_doc: int | None = Field(None, description="read, without effect: responses are scored whole")
    rank_fields: list[str] | None = Field(None, description="read, without effect: documents are texts")
    relevant_spans: Any = Field(None, description="read, without effect")
    priority: int | None = Field(None, description="read, without effect")
    user: str | None = Field(None, description="read, without effect")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.query is None) == (self.messages is None):
            raise ValueError("send either `query` or `messages`")
        if (self.documents is None) == (self.responses is None):
            raise ValueError("send either `documents` or `responses`")
        return self

    @property
    def activates(self) -> bool:
        """Whether sigmoids of the rewards are wanted."""
        return self.activation == "sigmoid" or self.use_activation is True or self.raw_scores is False

    @property
    def responses_key(self) -> str:
        """Where the caller put the responses."""
        return "responses" if self.documents is None else "documents"

    def sample(self) -> Sample:
        """What the gateway is asked."""
        turns = user(self.query) if self.query is not None else tuple(body.message() for body in self.messages or ())
        return Sample(
            messages=turns,
            responses=tuple(_turns_of(response) for response in self.documents or self.responses or ()),
            reference=self.reference,
            principle=self.principle,
        )


def _turns_of(response: "ResponseBody | Document") -> Turns:
    if isinstance(response, Document):
        return assistant(response.text)
    if isinstance(response, str):
        return assistant(response)
    return tuple(body.message() for body in response)
