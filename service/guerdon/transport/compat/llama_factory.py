"""LLaMA-Factory's reward server."""

from pydantic import Field

from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path

PLACEHOLDER = "model"
"""What LLaMA-Factory calls every model."""


class EvaluationRequest(Lenient):
    """Templated texts."""

    messages: list[str]
    model: str | None = MODEL
    max_length: int | None = Field(None, description="read, without effect: the model's own limit holds")


async def _evaluation(call: Call, body: EvaluationRequest) -> object:
    model = None if body.model == PLACEHOLDER else body.model
    name = "messages[{}]".format
    told = await call.rewards(model, text_samples(call, model, body.messages, name), name)
    return {"id": call.id, "object": "score.evaluation", "model": told.model.name, "scores": told.values}


PATHS = (
    Path(
        "/v1/score/evaluation",
        "LLaMA-Factory: score templated texts.",
        (Dialect(EvaluationRequest, _evaluation),),
        parameters=TEXT_PARAMETERS,
    ),
)
