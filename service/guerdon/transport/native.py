"""The native API, whatever carries it: requests to the gateway, rewards to answers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import ValidationError

from guerdon.aggregation import SET_WISE, Aggregation
from guerdon.domain import trace
from guerdon.domain.errors import ServiceError, TooLarge, UnusableField
from guerdon.domain.limits import Limits
from guerdon.domain.samples import Sample
from guerdon.ensemble import Model, Reward
from guerdon.gateway import Gateway, Rewards
from guerdon.preferences import Floats, bradley_terry, strengths, win_rates
from guerdon.transport.activation import sigmoid
from guerdon.transport.errors import described
from guerdon.transport.json_body import invalid
from guerdon.transport.schemas import ComparedBody, CompareRequest, RerankRequest, ScoreRequest

Asking = ScoreRequest | RerankRequest | CompareRequest

Json = dict[str, Any]


class NativeApi:
    """Scores, ranks and lists. Answers are plain JSON objects, shaped as `answers` documents."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self._gateway, self._limits = gateway, limits

    async def score(self, body: ScoreRequest, *, request_id: str, deadline: float) -> Json:
        """Rewards per input. Raises the first input's error where no input could be rewarded."""
        rewards = await self._rewards(body, deadline)
        data = [
            _input_answer(index, row, detail=body.detail, partial=body.partial, degrades=rewards.degrades)
            for index, row in enumerate(rewards.samples)
        ]
        if all("error" in item for item in data):
            raise next(_errors(rewards.samples[0], "inputs[0].responses"))[1]
        return {**_head(request_id, rewards), "data": data, **_tail(rewards)}

    async def rerank(self, body: RerankRequest, *, request_id: str, deadline: float) -> Json:
        """Responses sorted by reward. Raises the first response's error unless the request is ``partial``."""
        key = body.responses_key
        self._check_size(key, len(getattr(body, key)), "max_responses", self._limits.max_responses)
        sample = body.sample()
        rewards = await self._asked(body, [sample], deadline)
        failed = list(_errors(rewards.samples[0], key))
        if failed and (not body.partial or len(failed) == len(sample.responses)):
            raise failed[0][1]
        ranked = sorted(_rewarded(rewards.samples[0]), key=lambda pair: -pair[1].value)  # stable: ties keep their order
        results = [
            _result(index, reward, body, degrades=rewards.degrades) for index, reward in ranked[: body.top_n or None]
        ]
        more: Json = {"errors": [{"response": i, **described(error)} for i, error in failed]} if failed else {}
        if rewards.degrades:
            more["member_errors"] = _member_errors(_rewarded(rewards.samples[0]))
        more |= _judges(_rewarded(rewards.samples[0]))
        return {**_head(request_id, rewards), "results": results, **more, **_tail(rewards)}

    async def compare(self, body: CompareRequest, *, request_id: str, deadline: float) -> Json:
        """Probabilities per input. Raises the first input's error where no input could be compared."""
        pairs = sum(_pair_count(item) for item in body.inputs)
        self._check_size("inputs", pairs, "max_pairs", self._limits.max_pairs, what="pairs")
        rewards = await self._rewards(body, deadline)
        how = rewards.aggregation
        if how is not None and how.method in SET_WISE:
            told = f"{how.method} gives ranks among the responses, which have no probabilities; choose another method"
            raise UnusableField(f"aggregation.method: {told}", field="aggregation.method")
        data = [
            _comparison(index, item, row, rewards)
            for index, (item, row) in enumerate(zip(body.inputs, rewards.samples, strict=True))
        ]
        if all("error" in item for item in data):
            raise next(_errors(rewards.samples[0], "inputs[0].responses"))[1]
        return {**_head(request_id, rewards), "data": data, **_tail(rewards)}

    async def _rewards(self, body: ScoreRequest | CompareRequest, deadline: float) -> Rewards:
        """Of all inputs. Raises TooLarge where there are too many."""
        self._check_size("inputs", len(body.inputs), "max_inputs", self._limits.max_inputs)
        for index, item in enumerate(body.inputs):
            self._check_size(
                f"inputs[{index}].responses", len(item.responses), "max_responses", self._limits.max_responses
            )
        total = sum(len(item.responses) for item in body.inputs)
        self._check_size("inputs", total, "max_total_responses", self._limits.max_total_responses)
        return await self._asked(body, [item.sample() for item in body.inputs], deadline)

    async def _asked(self, body: Asking, samples: Sequence[Sample], deadline: float) -> Rewards:
        how = None
        if body.aggregation is not None:
            try:
                how = body.aggregation.over(self._gateway.model(body.model).aggregation)
            except ValidationError as error:
                raise invalid(error, within="aggregation") from error
        if body.seed is not None:
            samples = [replace(sample, seed=body.seed) for sample in samples]
        degrade = None if body.on_member_failure is None else body.on_member_failure == "degrade"
        return await self._gateway.score(body.model, samples, aggregation=how, degrade=degrade, deadline=deadline)

    def models(self, created: int) -> Json:
        """Everything that can be called by name, in OpenAI's list shape."""
        return {
            "object": "list",
            "data": [self._card(model, created) for model in self._gateway.models.values()],
        }

    def _card(self, model: Model, created: int) -> Json:
        return {
            "id": model.name,
            "object": "model",
            "created": created,
            "owned_by": "guerdon",
            "kind": model.kind,
            "revision": model.revision,
            "members": [member.name for member in model.members],
            **_aggregation(model.aggregation),
            "uses": sorted(model.uses),
            "limits": {
                "max_tokens": model.max_tokens,
                "max_inputs": self._limits.max_inputs,
                "max_responses": self._limits.max_responses,
            },
        }

    @staticmethod
    def _check_size(field: str, count: int, limit: str, most: int, what: str = "") -> None:
        if count > most:
            counted = f"{count} {what}".strip()
            raise TooLarge(f"{field}: {counted} are too many; at most {most} (limits.{limit})", field=field)


def _input_answer(
    index: int, row: Sequence[Reward | ServiceError], *, detail: str, partial: bool, degrades: bool
) -> Json:
    failed = list(_errors(row, f"inputs[{index}].responses"))
    if failed and (not partial or len(failed) == len(row)):
        return {"index": index, "error": described(failed[0][1])}
    good = _rewarded(row)
    answer: Json = {"index": index, "rewards": [reward.value for _, reward in good]}
    if good[0][1].std is not None:
        answer["std"] = [reward.std for _, reward in good]
        if detail != "rewards":
            names = list(dict.fromkeys(name for _, reward in good for name in reward.members))
            answer["members"] = {name: [reward.members.get(name) for _, reward in good] for name in names}
            answer["members_raw"] = {name: [reward.members_raw.get(name) for _, reward in good] for name in names}
    if degrades:
        answer |= _degraded(good)
    answer |= _judges(good, rationale=detail == "rationale")
    if detail in ("steps", "rationale"):
        answer |= _steps(good)
    answer["truncated"] = [reward.truncated for _, reward in good]
    if partial:
        answer["kept"] = [i for i, _ in good]
        answer["errors"] = [{"response": i, **described(error)} for i, error in failed]
    return answer


def _degraded(good: Sequence[tuple[int, Reward]]) -> Json:
    """Who said something of each response, and why the others did not."""
    return {
        "members_used": [list(reward.members) for _, reward in good],
        "member_errors": _member_errors(good),
    }


def _member_errors(rewarded: Sequence[tuple[int, Reward]]) -> list[Json]:
    """Why members are missing from the rewards of responses."""
    return [
        {"response": index, "member": member, **described(error)}
        for index, reward in rewarded
        for member, error in reward.missing.items()
    ]


def _judges(good: Sequence[tuple[int, Reward]], *, rationale: bool = False) -> Json:
    """How judges among the members came to their scores: one report for all responses that it speaks of."""
    told: dict[str, list[Json]] = {}
    for index, reward in good:
        for member, report in reward.reports.items():
            if "votes" not in report:
                continue
            reports = told.setdefault(member, [])
            if reports and reports[-1]["report"] is report:
                reports[-1]["responses"].append(index)
            else:
                reports.append({"responses": [index], "report": report})
    return (
        {"judges": {name: [_judged(one, rationale) for one in reports] for name, reports in told.items()}}
        if told
        else {}
    )


def _steps(good: Sequence[tuple[int, Reward]]) -> Json:
    """What process reward models among the members say of each response's steps."""
    told: dict[str, list[Json]] = {}
    for index, reward in good:
        for member, report in reward.reports.items():
            if "steps" in report:
                told.setdefault(member, []).append({"response": index, **report})
    return {"steps": told} if told else {}


def _judged(told: Json, rationale: bool) -> Json:
    """A judge that sees all responses together counts them as the caller does; another one sees each by itself."""
    report = {key: value for key, value in told["report"].items() if rationale or key != "ballots"}
    together = len(report["mean"]) > 1
    responses = list(range(len(report["mean"]))) if together else told["responses"]
    if "refused" in report and not together:
        report["refused"] = [{**one, "response": index} for one in report["refused"] for index in responses]
    return {"responses": responses, **report}


def _pair_count(body: ComparedBody) -> int:
    responses = len(body.responses)
    return len(body.pairs) if body.pairs else responses * (responses - 1) // 2


def _comparison(index: int, body: ComparedBody, row: Sequence[Reward | ServiceError], rewards: Rewards) -> Json:
    """How one input's responses compare. One that cannot be rewarded leaves nothing to compare with."""
    failed = list(_errors(row, f"inputs[{index}].responses"))
    if failed:
        return {"index": index, "error": described(failed[0][1])}
    good = _rewarded(row)
    values = [reward.value for _, reward in good]
    table = _preferences(good) if rewards.aggregation is None else None
    table = bradley_terry(values) if table is None else table
    pairs = body.pairs or [list(pair) for pair in combinations(range(len(values)), 2)]
    answer: Json = {
        "index": index,
        "pairs": pairs,
        "probability": [float(table[first, second]) for first, second in pairs],
        "win_rate": win_rates(table),
        "rewards": values,
    }
    if rewards.aggregation is not None:
        scores = [[reward.members.get(name, math.nan) for name in rewards.model.names] for _, reward in good]
        answer["strength"] = [None if one is None else asdict(one) for one in strengths(scores, pairs)]
    if rewards.degrades:
        answer |= _degraded(good)
    return answer | _judges(good)


def _preferences(good: Sequence[tuple[int, Reward]]) -> Floats | None:
    """What a judge said of each pair, where it compares."""
    for report in good[0][1].reports.values():
        if "preferences" in report:
            return np.asarray(report["preferences"], np.float64)
    return None


def _result(index: int, reward: Reward, body: RerankRequest, *, degrades: bool) -> Json:
    score = sigmoid(reward.value) if body.activates else reward.value
    result: Json = {"index": index, "relevance_score": score, "truncated": reward.truncated}
    if reward.std is not None:
        result |= {"std": reward.std, "members": reward.members}
    if degrades:
        result["members_used"] = list(reward.members)
    if body.return_documents:
        document = getattr(body, body.responses_key)[index]
        result["document"] = {"text": document} if isinstance(document, str) else _document(document)
    return result


def _document(document: Any) -> Json:
    if isinstance(document, list):
        return {"messages": [turn.model_dump() for turn in document]}
    return {"text": document.text}


def _errors(row: Sequence[Reward | ServiceError], field: str) -> Iterator[tuple[int, ServiceError]]:
    """The responses that failed, their errors naming them."""
    for index, reward in enumerate(row):
        if isinstance(reward, ServiceError):
            yield index, reward.at(_at_fault(reward, field, index))


def _at_fault(error: ServiceError, field: str, index: int) -> str:
    """Where the request is wrong: in the response, unless a scorer missed something beside the responses."""
    match error.field:
        case "responses":
            return field
        case "reference" | "principle" as missing:
            return f"{field.rpartition('.')[0]}.{missing}".removeprefix(".")
    return f"{field}[{index}]"


def _rewarded(row: Sequence[Reward | ServiceError]) -> list[tuple[int, Reward]]:
    return [(index, reward) for index, reward in enumerate(row) if isinstance(reward, Reward)]


def _head(request_id: str, rewards: Rewards) -> Json:
    return {"id": request_id, "model": rewards.model.name, "revision": rewards.model.revision}


def _tail(rewards: Rewards) -> Json:
    given = [reward for row in rewards.samples for _, reward in _rewarded(row)]
    usage = {
        "responses": len(given),
        "cached": sum(reward.cached for reward in given),
        "tokens": sum(reward.tokens for reward in given),
        "tokens_computed": trace.current().tokens_computed,
    }
    return {**_aggregation(rewards.aggregation), "usage": usage}


def _aggregation(how: Aggregation | None) -> Json:
    return {} if how is None else {"aggregation": how.told()}
