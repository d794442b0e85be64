"""Rerankers: Cohere's, Jina's and vLLM's /rerank and /v2/rerank, and Infinity's under a prefix."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from guerdon.domain.errors import ServiceError
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.activation import activated, sigmoid
from guerdon.transport.answers import ErrorAnswer, ErrorBody
from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.tei import RERANK as TEI_RERANK
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.compat.vllm import usage
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path, none_empty
from guerdon.transport.errors import described

Json = dict[str, Any]
UNNAMED = "default/not-specified"
"""What Infinity's client sends for a model where it is told none."""


def _named(model: str | None) -> str | None:
    return None if model == UNNAMED else model


class Text(Lenient):
    """A document as an object."""

    text: str


class DocumentsRequest(Lenient):
    """A query and documents: a prompt and the responses to it."""

    model: str | None = MODEL
    query: str
    documents: list[str | Text]
    top_n: int | None = Field(None, ge=0, description="0: all")
    return_documents: bool | None = None
    use_activation: bool | None = Field(None, description="false: raw rewards in place of their sigmoid")
    raw_scores: bool = Field(False, description="true: raw rewards in place of their sigmoid")

    def text(self, index: int) -> str:
        """Of one document."""
        document = self.documents[index]
        return document if isinstance(document, str) else document.text


class InfinityRerankRequest(DocumentsRequest):
    """The same, its model perhaps unnamed."""

    model: Annotated[str | None, AfterValidator(_named)] = MODEL


class InfinityClassifyRequest(Lenient):
    """Templated texts."""

    model: Annotated[str | None, AfterValidator(_named)] = MODEL
    input: list[str]
    raw_scores: bool = False


async def _ranked(call: Call, body: DocumentsRequest) -> tuple[list[Json], Json]:
    """Index and score of the documents, best first by their raw rewards; and the answer but for these."""
    none_empty(body.documents, "documents")
    responses = tuple(assistant(body.text(index)) for index in range(len(body.documents)))
    told = await call.rewards(
        body.model, [Sample(messages=user(body.query), responses=responses)], "documents[{}]".format
    )
    raw = body.raw_scores or body.use_activation is False
    order = sorted(range(len(responses)), key=lambda index: -told.values[index])[: body.top_n or None]
    results: list[Json] = [
        {"index": index, "relevance_score": told.values[index] if raw else sigmoid(told.values[index])}
        for index in order
    ]
    return results, {"id": call.id, "object": "rerank", "model": told.model.name, "usage": usage(told)}


async def _rerank(call: Call, body: DocumentsRequest) -> object:
    results, answer = await _ranked(call, body)
    if body.return_documents is not False:
        results = [result | {"document": {"text": body.text(result["index"])}} for result in results]
    return answer | {"results": results}


async def _cohere(call: Call, body: DocumentsRequest) -> object:
    results, answer = await _ranked(call, body)
    if body.return_documents:
        results = [result | {"document": {"text": body.text(result["index"])}} for result in results]
    billed = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return answer | {"results": results, "meta": billed}


async def _infinity(call: Call, body: InfinityRerankRequest) -> object:
    results, answer = await _ranked(call, body)
    if body.return_documents:
        results = [result | {"document": body.text(result["index"])} for result in results]
    return answer | {"results": results}


async def _infinity_classify(call: Call, body: InfinityClassifyRequest) -> object:
    none_empty(body.input, "input")
    name = "input[{}]".format
    told, outputs = await call.outputs(body.model, text_samples(call, body.model, body.input, name), name)
    data = [
        [
            {"score": score, "label": label}
            for label, score in zip(named, activated(list(named.values()), not body.raw_scores), strict=True)
        ]
        for named in outputs
    ]
    return {"object": "classify", "data": data, "model": told.model.name, "usage": usage(told), "id": call.id}


class RerankRefusal(ErrorAnswer):
    """The service's own words, and where Cohere's and Jina's clients look for them."""

    message: str
    detail: str

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """The message three times."""
        own = ErrorBody.model_validate(described(error))
        return cls(error=own, message=error.message, detail=error.message)


_DOCUMENTS = frozenset({"documents"})
PATHS = (
    Path(
        "/rerank",
        "vLLM, Jina, Cohere (`documents`) and TEI (`texts`): rank responses, best first.",
        (Dialect(DocumentsRequest, _rerank, _DOCUMENTS, RerankRefusal), TEI_RERANK),
    ),
    Path(
        "/v2/rerank",
        "Cohere: rank responses, best first.",
        (Dialect(DocumentsRequest, _cohere, refusal=RerankRefusal),),
    ),
    Path("/infinity/rerank", "Infinity: rank responses, best first.", (Dialect(InfinityRerankRequest, _infinity),)),
    Path(
        "/infinity/classify",
        "Infinity: rewards of templated texts.",
        (Dialect(InfinityClassifyRequest, _infinity_classify),),
        parameters=TEXT_PARAMETERS,
    ),
)
