"""From the service's JSON to plain values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from guerdon_client.errors import GuerdonError, described
from guerdon_client.requests import Json
from guerdon_client.results import (
    Comparison,
    ModelCard,
    Ranked,
    RerankResult,
    ResponseProblem,
    ScoreBatch,
    ScoreResult,
    Strength,
    Usage,
)


def score_batch(model: str, heads: Sequence[Json], items: Iterable[Json]) -> ScoreBatch:
    """``heads`` are the answers that the ``items`` came from; without any, the ``model`` is all that is known."""
    first = heads[0] if heads else {"model": model, "revision": ""}
    usage = sum((_usage(head) for head in heads), Usage())
    return ScoreBatch(results=tuple(score_item(item) for item in items), usage=usage, **_head(first))


def score_item(item: Json) -> ScoreResult | GuerdonError:
    """One input's rewards, or its error."""
    if "error" in item:
        return described(item["error"], 200)
    known = dict(item)
    known.pop("index", None)
    given: Json = {
        "rewards": tuple(known.pop("rewards")),
        "std": _tuple(known.pop("std", None)),
        "members": _columns(known.pop("members", {})),
        "members_raw": _columns(known.pop("members_raw", {})),
        "members_used": _rows(known.pop("members_used", None)),
        "member_errors": _problems(known.pop("member_errors", ())),
        "truncated": tuple(known.pop("truncated", ())),
        "kept": _tuple(known.pop("kept", None)),
        "errors": _problems(known.pop("errors", ())),
    }
    return ScoreResult(**given, more=known)


def rerank_result(body: Json) -> RerankResult:
    """The answer of ``/v1/rerank``."""
    return RerankResult(
        results=tuple(_ranked(item) for item in body["results"]),
        errors=_problems(body.get("errors", ())),
        member_errors=_problems(body.get("member_errors", ())),
        usage=_usage(body),
        more={"judges": body["judges"]} if "judges" in body else {},
        **_head(body),
    )


def comparison(body: Json) -> Comparison:
    """The only input of an answer of ``/v1/compare``. Raises its error."""
    known = dict(body["data"][0])
    if "error" in known:
        raise described(known["error"], 200)
    known.pop("index", None)
    strength = known.pop("strength", None)
    return Comparison(
        pairs=tuple((first, second) for first, second in known.pop("pairs")),
        probability=tuple(known.pop("probability")),
        win_rate=tuple(known.pop("win_rate")),
        rewards=tuple(known.pop("rewards", ())),
        strength=None if strength is None else tuple(None if one is None else Strength(**one) for one in strength),
        members_used=_rows(known.pop("members_used", None)),
        member_errors=_problems(known.pop("member_errors", ())),
        more=known,
    )


def model_card(card: Json) -> ModelCard:
    """One entry of ``/v1/models``."""
    limits = card.get("limits", {})
    return ModelCard(
        name=card["id"],
        kind=card["kind"],
        revision=card["revision"],
        members=tuple(card.get("members", ())),
        aggregation=card.get("aggregation"),
        uses=frozenset(card.get("uses", ())),
        max_tokens=limits.get("max_tokens"),
        max_inputs=limits.get("max_inputs"),
        max_responses=limits.get("max_responses"),
    )


def _head(body: Json) -> Json:
    return {"model": body["model"], "revision": body["revision"], "aggregation": body.get("aggregation")}


def _usage(body: Json) -> Usage:
    given = body.get("usage", {})
    return Usage(**{one.name: given.get(one.name, 0) for one in fields(Usage)})


def _ranked(item: Json) -> Ranked:
    return Ranked(
        index=item["index"],
        relevance_score=item["relevance_score"],
        std=item.get("std"),
        members=item.get("members", {}),
        members_used=_tuple(item.get("members_used")),
        truncated=item.get("truncated", False),
        document=item.get("document"),
    )


def _problems(listed: Iterable[Json]) -> tuple[ResponseProblem, ...]:
    return tuple(ResponseProblem(one["response"], described(one, 200), one.get("member")) for one in listed)


def _columns(members: Mapping[str, Iterable[float | None]]) -> dict[str, tuple[float | None, ...]]:
    return {name: tuple(scores) for name, scores in members.items()}


def _rows(listed: Iterable[Iterable[str]] | None) -> tuple[tuple[str, ...], ...] | None:
    return None if listed is None else tuple(tuple(row) for row in listed)


def _tuple(listed: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if listed is None else tuple(listed)
