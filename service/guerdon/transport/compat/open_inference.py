"""The Open Inference Protocol, version 2, in JSON, as Triton and KServe speak it."""

from math import prod
from typing import Any, Self

from pydantic import Field

from guerdon.domain.errors import Invalid, ServiceError
from guerdon.transport.compat.lenient import Lenient
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path
from guerdon.transport.errors import Refusal

INPUT, OUTPUT = "sentences", "rewards"


class Tensor(Lenient):
    """An input: texts, row by row."""

    name: str
    shape: list[int] = Field(min_length=1, max_length=2)
    datatype: str
    data: list[str] | list[list[str]]
    parameters: dict[str, Any] = Field({})


class Wanted(Lenient):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = Field({})


class InferRequest(Lenient):
    """Templated texts as a tensor of bytes [n] or [n, 1] called ``sentences``."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[Wanted] | None = None


async def _infer(call: Call, body: InferRequest) -> object:
    model = call.request.path_params["model"]
    texts = _texts(body)
    for index, wanted in enumerate(body.outputs or ()):
        if wanted.name != OUTPUT or wanted.parameters.get("binary_data"):
            raise Invalid(f"outputs[{index}]: there is one, `{OUTPUT}`, as JSON", field=f"outputs[{index}]")
    name = "inputs[0].data[{}]".format
    told = await call.rewards(model, text_samples(call, model, texts, name), name)
    rewards = {"name": OUTPUT, "datatype": "FP32", "shape": [len(texts), 1], "data": told.values}
    answer = {"model_name": model, "model_version": told.model.revision, "outputs": [rewards]}
    return answer | ({"id": body.id} if body.id is not None else {})


def _texts(body: InferRequest) -> list[str]:
    if len(body.inputs) != 1 or body.inputs[0].name != INPUT or body.inputs[0].datatype != "BYTES":
        raise Invalid(f"inputs: one tensor of BYTES called `{INPUT}` is needed", field="inputs")
    tensor = body.inputs[0]
    texts = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if tensor.shape[1:] not in ([], [1]) or prod(tensor.shape) != len(texts):
        raise Invalid(f"inputs[0].shape: [n] or [n, 1] is needed, for {len(texts)} texts", field="inputs[0].shape")
    return texts


class OpenInferenceRefusal(Refusal):
    """A sentence."""

    error: str

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """The message."""
        return cls(error=error.message)


PATHS = (
    Path(
        "/v2/models/{model:path}/infer",
        "Open Inference Protocol: rewards of templated texts.",
        (Dialect(InferRequest, _infer, refusal=OpenInferenceRefusal),),
        parameters=TEXT_PARAMETERS[1:],
    ),
)
