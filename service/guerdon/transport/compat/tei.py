"""Text Embeddings Inference: /rerank with texts, /predict."""

from operator import itemgetter
from typing import Any, Self

from pydantic import Field

from guerdon.domain.errors import STATUS, Invalid, ServiceError
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.activation import activated, sigmoid
from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path, none_empty
from guerdon.transport.errors import Refusal

Json = dict[str, Any]
ERROR_TYPES = {"overloaded": "Overloaded", "unavailable": "Unhealthy", "worker_lost": "Unhealthy"}


class TextsRequest(Lenient):
    """A query and texts: a prompt and the responses to it."""

    model: str | None = MODEL
    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = Field(None, description="read, without effect: truncation is a setting of the scorer")


class PredictRequest(Lenient):
    """One templated text, one pair of prompt and response, or a batch of lists of one or two."""

    model: str | None = MODEL
    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False
    truncate: bool | None = Field(None, description="read, without effect: truncation is a setting of the scorer")


async def _rerank(call: Call, body: TextsRequest) -> object:
    none_empty(body.texts, "texts")
    responses = tuple(assistant(text) for text in body.texts)
    sample = Sample(messages=user(body.query), responses=responses)
    told = await call.rewards(body.model, [sample], "texts[{}]".format)
    ranks: list[Json] = []
    for index in sorted(range(len(responses)), key=lambda index: -told.values[index]):
        value = told.values[index]
        text = {"text": body.texts[index]} if body.return_text else {}
        ranks.append({"index": index, "score": value if body.raw_scores else sigmoid(value), **text})
    return ranks


async def _predict(call: Call, body: PredictRequest) -> object:
    inputs, one = _inputs(body.inputs)
    none_empty(inputs, "inputs")
    name = (lambda _: "inputs") if one else "inputs[{}]".format
    samples = [_sample(call, body.model, parts, name(index)) for index, parts in enumerate(inputs)]
    _, outputs = await call.outputs(body.model, samples, name)
    predictions = []
    for named in outputs:
        scores = activated(list(named.values()), not body.raw_scores)
        labels = ["LABEL_0"] if len(named) == 1 else list(named)
        found: list[Json] = [{"score": score, "label": label} for label, score in zip(labels, scores, strict=True)]
        predictions.append(sorted(found, key=itemgetter("score"), reverse=True))
    return predictions[0] if one else predictions


def _inputs(given: Any) -> tuple[list[list[str]], bool]:
    """The inputs, each of one or two texts; and whether there was one that stood alone."""
    match given:
        case str(text):
            return [[text]], True
        case [str(), *_]:
            return [given], True
        case _:
            return list(given), False


def _sample(call: Call, model: str | None, parts: list[str], field: str) -> Sample:
    match parts:
        case [text]:
            return text_samples(call, model, [text], lambda _: field)[0]
        case [prompt, response]:
            return Sample(messages=user(prompt), responses=(assistant(response),))
    raise Invalid(f"{field}: one text, or a pair of prompt and response, is needed", field=field)


class TeiRefusal(Refusal):
    """A sentence and a kind."""

    error: str
    error_type: str
    code: str
    field: str | None

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """With the service's own code and field beside them."""
        kind = "Backend" if STATUS[type(error)].http >= 500 else "Validation"
        kind = ERROR_TYPES.get(error.code, kind)
        return cls(error=error.message, error_type=kind, code=error.code, field=error.field)


RERANK = Dialect(TextsRequest, _rerank, frozenset({"texts"}), TeiRefusal)
PATHS = (
    Path(
        "/predict",
        "TEI: rewards of texts and pairs.",
        (Dialect(PredictRequest, _predict, refusal=TeiRefusal),),
        parameters=TEXT_PARAMETERS,
    ),
)
