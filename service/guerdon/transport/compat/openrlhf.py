"""OpenRLHF's and align-anything's reward servers."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.texts import text_samples
from guerdon.transport.dialect import TEXT_PARAMETERS, Call, Dialect, Path, Told


class OpenRlhfRequest(Lenient):
    """Templated texts, each the prompt with its response."""

    query: list[str]
    prompts: list[str] | None = Field(None, description="what each text begins with")
    model: str | None = MODEL


class AlignAnythingRequest(Lenient):
    """Prompts and, one each, responses."""

    prompts: list[str]
    responses: list[str]
    model: str | None = MODEL


async def _openrlhf(call: Call, body: OpenRlhfRequest) -> object:
    if body.prompts is not None:
        _same_length("prompts", body.prompts, "query", body.query)
    name = "query[{}]".format
    samples = text_samples(call, body.model, body.query, name, prompts=body.prompts)
    told = await call.rewards(body.model, samples, name)
    return {"rewards": told.values, "scores": told.values, "score": told.values, "extra_logs": extra_logs(told)}


def extra_logs(told: Told) -> dict[str, list[float]]:
    """Flat numbers, the same keys for every response: the trainer makes a tensor of each.

    Where members may be missing, how many spoke stands in place of what each said.
    """
    if told.model.aggregation is None:
        return {}
    logs = {"std": [reward.std or 0.0 for reward in told.rewards]}
    if told.degrades:
        return logs | {"members_used": [float(len(reward.members)) for reward in told.rewards]}
    return logs | {name: [reward.members[name] for reward in told.rewards] for name in told.model.names}


async def _align_anything(call: Call, body: AlignAnythingRequest) -> object:
    _same_length("responses", body.responses, "prompts", body.prompts)
    pairs = zip(body.prompts, body.responses, strict=True)
    samples = [Sample(messages=user(prompt), responses=(assistant(response),)) for prompt, response in pairs]
    return {"rewards": (await call.rewards(body.model, samples, "responses[{}]".format)).values}


def _same_length(field: str, one: Sequence[Any], other_field: str, other: Sequence[Any]) -> None:
    if len(one) != len(other):
        raise Invalid(f"{field}: {len(one)} for {len(other)} in {other_field}", field=field)


PATHS = (
    Path(
        "/get_reward",
        "OpenRLHF: reward templated texts; align-anything: reward responses to prompts.",
        (
            Dialect(OpenRlhfRequest, _openrlhf, frozenset({"query"})),
            Dialect(AlignAnythingRequest, _align_anything, frozenset({"responses"})),
        ),
        parameters=TEXT_PARAMETERS,
    ),
)
