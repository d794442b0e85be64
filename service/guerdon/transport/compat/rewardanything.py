"""RewardAnything's server: responses scored under a principle."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import Field, RootModel

from guerdon.domain.errors import ServiceError, first_of
from guerdon.domain.samples import Sample, assistant, user
from guerdon.ensemble import Reward
from guerdon.transport.compat.lenient import MODEL, Lenient
from guerdon.transport.compat.principle import with_principle
from guerdon.transport.dialect import Call, Dialect, Path, none_empty

Json = dict[str, Any]


class RewardAnythingRequest(Lenient):
    """Named responses to a prompt, and what makes one good."""

    model: str | None = MODEL
    principle: str
    prompt: str
    responses: dict[str, str]
    mask_responses: bool = Field(True, description="read, without effect: names are never shown to a model")


class RewardAnythingBatch(RootModel[list[RewardAnythingRequest]]):
    """Several such requests; the answers come in their order."""


async def _alone(call: Call, body: RewardAnythingRequest) -> object:
    return await _one(call, body, "")


async def _batch(call: Call, body: RewardAnythingBatch) -> object:
    call.bounded("max_total_responses", sum(len(request.responses) for request in body.root), "responses")
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_one(call, request, f"[{i}].")) for i, request in enumerate(body.root)]
    except* ServiceError as errors:
        raise first_of(errors) from None
    return [task.result() for task in asked]


async def _one(call: Call, body: RewardAnythingRequest, place: str) -> Json:
    names = list(body.responses)
    none_empty(names, f"{place}responses")
    responses = tuple(assistant(text) for text in body.responses.values())
    sample = Sample(messages=user(body.prompt), responses=responses)
    sample = with_principle(call, body.model, sample, body.principle)
    told = await call.rewards(body.model, [sample], lambda index: f"{place}responses.{names[index]}")
    scores = dict(zip(names, told.values, strict=True))
    ranked = sorted(names, key=lambda one: -scores[one])
    return {"thoughts": _thoughts(told.rewards), "results": {"scores": scores, "best-to-worst": ranked}}


def _thoughts(rewards: Sequence[Reward]) -> str:
    """What a judge wrote in its first vote; nothing where no judge was asked."""
    reports = (report for reward in rewards for report in reward.reports.values())
    ballots = (ballot for report in reports for ballot in report.get("ballots", ()))
    return next((str(ballot["rationale"]) for ballot in ballots if "rationale" in ballot), "")


PATHS = (
    Path(
        "/api/rewardanything",
        "RewardAnything: score named responses under a principle.",
        (Dialect(RewardAnythingRequest, _alone),),
    ),
    Path(
        "/api/rewardanything_batch",
        "RewardAnything: several such requests, answered in their order.",
        (Dialect(RewardAnythingBatch, _batch),),
    ),
)
