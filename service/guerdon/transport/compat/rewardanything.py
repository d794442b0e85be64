"""RewardAnything's server: responses scored under a principle."""

import asyncio
from typing import Any

from pydantic import Field, RootModel

from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.principle import with_principle
from guerdon.transport.dialect import Call, Dialect, Path, none_empty


class RewardAnythingRequest(Lenient):
    """Named responses to a prompt, and what makes one good."""

    model: str | None = MODEL
    principle: str
    prompt: str
    responses: dict[str, str]
    mask_responses: bool = Field(True, description="read, without effect: names are never shown to a model")


class RewardAnythingBatch(RootModel[list[RewardAnythingRequest]]):
    """Several such requests; the answers come in their order."""


async def _one(call: Call, body: RewardAnythingRequest) -> Any:
    none_empty(list(body.responses), "responses")
    names = list(body.responses)
    responses = tuple(assistant(text) for text in body.responses.values())
    sample = Sample(messages=user(body.prompt), responses=responses)
    sample = with_principle(call, body.model, sample, body.principle)
    told = await call.rewards(body.model, [sample], lambda index: f"responses.{names[index]}")
    scores = dict(zip(names, told.values, strict=True))
    return {"thoughts": "", "results": {"scores": scores, "best-to-worst": sorted(names, key=lambda one: -scores[one])}}


async def _batch(call: Call, body: RewardAnythingBatch) -> object:
    return await asyncio.gather(*(_one(call, request) for request in body.root))


PATHS = (
    Path(
        "/api/rewardanything",
        "RewardAnything: score named responses under a principle.",
        (Dialect(RewardAnythingRequest, _one),),
    ),
    Path(
        "/api/rewardanything_batch",
        "RewardAnything: several such requests, answered in their order.",
        (Dialect(RewardAnythingBatch, _batch),),
    ),
)
