"""slime's and miles' remote reward models."""

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.compat.lenient import Lenient, Turn, turns_of
from guerdon.transport.compat.openrlhf import extra_logs
from guerdon.transport.compat.templates import bare
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path, in_query

FORMAT = in_query("format", "a bare number, or an object with the members' scores", enum=["number", "dict"])


class SlimeRequest(Lenient):
    """One response, to a prompt that is a text or a list of messages."""

    prompt: str | list[Turn]
    response: str
    label: str | None = None


async def _slime(call: Call, body: SlimeRequest) -> object:
    form = call.request.query_params.get("format", "number")
    if form not in ("number", "dict"):
        raise Invalid("format: one of number, dict is needed", field="format")
    model = call.request.path_params["model"]
    told = await call.rewards(model, [_sample(call, body, model)], lambda _: "response")
    if form == "number":
        return told.values[0]
    logs = {name: values[0] for name, values in extra_logs(told).items()}
    std = {"std": logs.pop("std")} if logs else {}
    return {"reward": told.values[0], **std, "members": logs}


def _sample(call: Call, body: SlimeRequest, model: str) -> Sample:
    if not isinstance(body.prompt, str):
        return Sample(messages=turns_of(body.prompt) or user(""), responses=(assistant(bare(body.response)),))
    text = body.prompt + body.response
    return text_samples(call, model, [text], lambda _: "prompt", prompts=[body.prompt])[0]


PATHS = (
    Path(
        "/v1/slime/{model:path}",
        "slime: the reward of one response as a bare number; with ?format=dict, as an object.",
        (Dialect(SlimeRequest, _slime),),
        parameters=(*TEXT_PARAMETERS[1:], FORMAT),
    ),
)
