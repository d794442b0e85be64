"""vLLM's pooling server: /classify, /pooling, /score."""

import time
from collections.abc import Sequence
from typing import Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.activation import activated, sigmoid
from guerdon.transport.compat.lenient import (
    MODEL,
    Encoding,
    Lenient,
    OpenAiRefusal,
    Turn,
    conversation,
    encoded,
)
from guerdon.transport.compat.texts import one_by_one, text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Outputs, Path, Told, none_empty

Json = dict[str, object]


class PoolingInput(Lenient):
    """What is to be scored: templated text or token ids, or a conversation that ends with the response."""

    model: str | None = MODEL
    input: str | list[str] | list[int] | list[list[int]] | None = None
    messages: list[Turn] | None = None
    use_activation: bool | None = Field(None, description="false: raw scores; by default a sigmoid, or a softmax")
    add_special_tokens: bool | None = Field(None, description="false: the text is read as it is spelt")
    truncate_prompt_tokens: int | None = Field(None, ge=-1, description="longer ones are refused, not cut")
    chat_template: str | None = Field(None, description="refused: it is a setting of the scorer")

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise ValueError("send either `input` or `messages`")
        if self.chat_template is not None:
            raise ValueError("`chat_template` is a setting of the scorer, not of a request")
        return self


class ClassifyRequest(PoolingInput):
    """Rewards as class probabilities."""


class PoolingRequest(PoolingInput):
    """Rewards as pooled vectors."""

    task: str | None = Field(None, description="classify; no other is served")
    encoding_format: Encoding = "float"

    @field_validator("task")
    @classmethod
    def _classifies(cls, task: str | None) -> str | None:
        if task not in (None, "classify"):
            raise ValueError(f"{task[:40]} is not served, only classify")
        return task


class PairsRequest(Lenient):
    """Queries and documents: one query for all documents, or one each."""

    model: str | None = MODEL
    queries: str | list[str] = Field(validation_alias=AliasChoices("queries", "text_1", "data_1"))
    documents: str | list[str] = Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2"))
    use_activation: bool | None = None


async def outputs_of(call: Call, body: PoolingInput) -> tuple[Told, Outputs]:
    """What the model says of each input. Raises Invalid, and for what is longer than the caller allows."""
    if body.messages is not None:
        told, outputs = await call.outputs(body.model, [conversation(body.messages, "messages")], lambda _: "messages")
    else:
        texts, one = one_by_one(body.input)
        none_empty(texts, "input")
        name = (lambda _: "input") if one else "input[{}]".format
        samples = text_samples(call, body.model, texts, name, special_tokens=body.add_special_tokens is not False)
        told, outputs = await call.outputs(body.model, samples, name)
    most = body.truncate_prompt_tokens
    if most and most > 0 and any(reward.tokens > most for reward in told.rewards):
        reason = f"more than truncate_prompt_tokens={most}; truncation is a setting of the scorer"
        raise Invalid(reason, field="truncate_prompt_tokens")
    return told, outputs


async def _classify(call: Call, body: ClassifyRequest) -> object:
    told, outputs = await outputs_of(call, body)
    data: list[Json] = []
    for index, named in enumerate(outputs):
        probabilities = activated(list(named.values()), body.use_activation is not False)
        best = max(range(len(named)), key=probabilities.__getitem__)
        label = "LABEL_0" if len(named) == 1 else list(named)[best]
        data.append({"index": index, "label": label, "probs": probabilities, "num_classes": len(named)})
    return _listed(call, "classify", told, data)


async def _pooling(call: Call, body: PoolingRequest) -> object:
    told, outputs = await outputs_of(call, body)
    activate = body.use_activation is not False
    rows = [activated(list(named.values()), activate) for named in outputs]
    data: list[Json] = [
        {"index": index, "object": "pooling", "data": encoded(row, body.encoding_format)}
        for index, row in enumerate(rows)
    ]
    return _listed(call, "pool", told, data)


async def _score(call: Call, body: PairsRequest) -> object:
    queries = [body.queries] if isinstance(body.queries, str) else body.queries
    documents = [body.documents] if isinstance(body.documents, str) else body.documents
    none_empty(documents, "documents")
    if len(queries) == 1:
        queries = queries * len(documents)
    if len(queries) != len(documents):
        raise Invalid(f"documents: {len(documents)} for {len(queries)} queries", field="documents")
    pairs = zip(queries, documents, strict=True)
    samples = [Sample(messages=user(query), responses=(assistant(document),)) for query, document in pairs]
    told = await call.rewards(body.model, samples, "documents[{}]".format)
    scores = told.values if body.use_activation is False else [sigmoid(value) for value in told.values]
    data: list[Json] = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
    return _listed(call, "score", told, data)


def _listed(call: Call, kind: str, told: Told, data: Sequence[Json]) -> Json:
    return {
        "id": f"{kind}-{call.id}",
        "object": "list",
        "created": int(time.time()),
        "model": told.model.name,
        "data": data,
        "usage": usage(told),
    }


def usage(told: Told) -> Json:
    """Tokens as OpenAI's servers count them."""
    return {"prompt_tokens": told.tokens, "completion_tokens": 0, "total_tokens": told.tokens}


CLASSIFY = Dialect(ClassifyRequest, _classify, frozenset({"input", "messages"}), OpenAiRefusal)
SCORE = Dialect(PairsRequest, _score, frozenset({"queries", "text_1", "data_1"}), OpenAiRefusal)
PATHS = (
    Path(
        "/pooling",
        "vLLM: rewards as pooled vectors.",
        (Dialect(PoolingRequest, _pooling, refusal=OpenAiRefusal),),
        parameters=TEXT_PARAMETERS,
    ),
    Path("/score", "vLLM: scores of documents for queries.", (SCORE,)),
)
