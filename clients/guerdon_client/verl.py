"""Rewards for verl: a custom reward function."""

from collections.abc import Mapping
from typing import Any

from guerdon_client.environment import Place, place
from guerdon_client.errors import Refused
from guerdon_client.groups import Text, disagreement, grouped, said
from guerdon_client.requests import Json, present
from guerdon_client.results import ScoreBatch
from guerdon_client.retries import Retries
from guerdon_client.shared import asynchronous, waiting

PROMPT_KEYS = ("prompt", "messages", "question", "problem")
"""Where in ``extra_info`` the prompt is looked for, unless a key is given."""


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, float]:
    """``score``, and beside it what becomes columns of verl's logs: ``std`` and each member of an ensemble.

    ``settings`` come from verl's ``reward_kwargs``: ``url``, ``model``, ``api_key``, ``timeout_s``, ``retries`` (the
    fields of `Retries`), ``aggregation``, ``prompt_key`` (of ``extra_info``), ``use_ground_truth`` (as the reference).
    Others are verl's own, and are not used.
    """
    where, inputs, options = _asked(solution_str, ground_truth, extra_info or {}, settings)
    client = asynchronous(where).client()
    return _told(inputs, await client.score_many(inputs, model=where.model, detail="members", **options))


def compute_score_blocking(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, float]:
    """The same for reward managers that take no coroutine (``remote``)."""
    where, inputs, options = _asked(solution_str, ground_truth, extra_info or {}, settings)
    return _told(inputs, waiting(where).score_many(inputs, model=where.model, detail="members", **options))


def _asked(
    solution: str, ground_truth: Any, extra_info: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[Place, list[Json], dict[str, Any]]:
    retries = settings.get("retries")
    where = place(
        settings.get("url"),
        settings.get("model"),
        settings.get("api_key"),
        timeout_s=settings.get("timeout_s"),
        retries=Retries(**retries) if isinstance(retries, Mapping) else retries,
    )
    columns = {"reference": [str(ground_truth)]} if settings.get("use_ground_truth") else {}
    prompt = said(_prompt(extra_info, settings.get("prompt_key")))
    return where, grouped([prompt], [solution], columns), present({"aggregation": settings.get("aggregation")})


def _prompt(extra_info: Mapping[str, Any], key: str | None) -> Text:
    for name in PROMPT_KEYS if key is None else (key,):
        found: Text | None = extra_info.get(name)
        if found is not None:
            return found
    looked = ", ".join(PROMPT_KEYS) if key is None else key
    raise Refused("invalid", f"extra_info holds no prompt ({looked}); name its key with prompt_key", field="extra_info")


def _told(inputs: list[Json], batch: ScoreBatch) -> dict[str, float]:
    (result,) = batch.good()
    columns = disagreement(inputs, batch)
    return {"score": result[0]} | {name: _number(column[0]) for name, column in columns.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
