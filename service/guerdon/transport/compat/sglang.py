"""SGLang: /classify with text or token ids, /v1/embeddings as verl reads it, /v1/score with items."""

from typing import Self

from pydantic import model_validator

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.compat import vllm
from guerdon.transport.compat.lenient import MODEL, Encoding, Lenient, OpenAiRefusal, encoded
from guerdon.transport.compat.texts import one_by_one, text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path, none_empty


class SglangClassifyRequest(Lenient):
    """Templated text, or token ids; one or several."""

    model: str | None = MODEL
    text: str | list[str] | None = None
    input_ids: list[int] | list[list[int]] | None = None

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.text is None) == (self.input_ids is None):
            raise ValueError("send either `text` or `input_ids`")
        return self


class EmbeddingsRequest(Lenient):
    """Templated text, or token ids; one or several."""

    model: str | None = MODEL
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Encoding = "float"


class ItemsRequest(Lenient):
    """A query and the items that are scored for it."""

    model: str | None = MODEL
    query: str
    items: str | list[str]
    apply_softmax: bool = False
    item_first: bool = False
    label_token_ids: list[int] | None = None


async def _classify(call: Call, body: SglangClassifyRequest) -> object:
    field = "text" if body.input_ids is None else "input_ids"
    texts, one = one_by_one(body.text if body.input_ids is None else body.input_ids)
    none_empty(texts, field)
    name = (lambda _: field) if one else (field + "[{}]").format
    told, outputs = await call.outputs(body.model, text_samples(call, body.model, texts, name), name)
    answers = [
        {
            "embedding": list(named.values()),
            "meta_info": {"id": call.id, "finish_reason": None, "prompt_tokens": reward.tokens},
        }
        for named, reward in zip(outputs, told.rewards, strict=True)
    ]
    return answers[0] if one else answers


async def _embeddings(call: Call, body: EmbeddingsRequest) -> object:
    texts, _ = one_by_one(body.input)
    none_empty(texts, "input")
    name = "input[{}]".format
    told, outputs = await call.outputs(body.model, text_samples(call, body.model, texts, name), name)
    data = [
        {"object": "embedding", "index": index, "embedding": encoded(list(named.values()), body.encoding_format)}
        for index, named in enumerate(outputs)
    ]
    usage = {"prompt_tokens": told.tokens, "total_tokens": told.tokens}
    return {"object": "list", "data": data, "model": told.model.name, "usage": usage}


async def _items(call: Call, body: ItemsRequest) -> object:
    if body.label_token_ids or body.apply_softmax or body.item_first:
        asked = "label_token_ids, apply_softmax and item_first are for language models; these are reward models"
        raise Invalid(asked, field="label_token_ids")
    items = [body.items] if isinstance(body.items, str) else body.items
    samples = [Sample(messages=user(body.query), responses=(assistant(item),)) for item in items]
    told = await call.rewards(body.model, samples, "items[{}]".format)
    scores = [[value] for value in told.values]
    return {"scores": scores, "usage": vllm.usage(told), "model": told.model.name, "object": "scoring"}


SCORE = Dialect(ItemsRequest, _items, frozenset({"query", "items"}), OpenAiRefusal)
PATHS = (
    Path(
        "/classify",
        "vLLM (`input` or `messages`) and SGLang (`text` or `input_ids`): rewards as a classifier's outputs.",
        (
            vllm.CLASSIFY,
            Dialect(SglangClassifyRequest, _classify, frozenset({"text", "input_ids"}), OpenAiRefusal),
        ),
        methods=("POST", "PUT"),
        parameters=TEXT_PARAMETERS,
    ),
    Path(
        "/v1/embeddings",
        "SGLang, as verl reads it: the raw reward as a vector of one number.",
        (Dialect(EmbeddingsRequest, _embeddings, refusal=OpenAiRefusal),),
        parameters=TEXT_PARAMETERS,
    ),
)
