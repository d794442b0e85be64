"""Trainers' samples as inputs of the service, and its results as their rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon_client.errors import GuerdonError
from guerdon_client.requests import Json, Prompt, one_input
from guerdon_client.results import ScoreResult

Text = str | Sequence[Mapping[str, Any]]
Scored = ScoreResult | GuerdonError


def said(text: Text) -> Prompt:
    """A string as it is; of messages what the service reads: who speaks, and what."""
    if isinstance(text, str):
        return text
    return [{"role": turn["role"], "content": turn.get("content") or ""} for turn in text]


def grouped(
    prompts: Sequence[Text], responses: Sequence[Text], columns: Mapping[str, Sequence[Any]] | None = None
) -> list[Json]:
    """Inputs, in order: samples that follow each other and differ in their responses only are one.

    ``columns`` are further fields of inputs, with a value for each sample.
    """
    inputs: list[Json] = []
    for at, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        more = {key: values[at] for key, values in (columns or {}).items()}
        given = one_input(said(prompt), [said(response)], **more)
        if inputs and _but_responses(inputs[-1]) == _but_responses(given):
            inputs[-1]["responses"] += given["responses"]
        else:
            inputs.append(given)
    return inputs


def _but_responses(given: Json) -> Json:
    return {key: value for key, value in given.items() if key != "responses"}


def rows(inputs: Sequence[Json], results: Sequence[Scored]) -> list[float | None]:
    """A reward for each sample, in the order they were grouped in; None where there is an error."""
    return [
        reward
        for given, result in zip(inputs, results, strict=True)
        for reward in _rewards(result, len(given["responses"]))
    ]


def _rewards(result: Scored, count: int) -> list[float | None]:
    return [None] * count if isinstance(result, GuerdonError) else result.by_response(count)


def disagreement(inputs: Sequence[Json], results: Sequence[Scored]) -> dict[str, list[float | None]]:
    """Columns beside the rewards: each member's score, and ``std``. Empty for a model without members."""
    good = [result for result in results if isinstance(result, ScoreResult)]
    names = dict.fromkeys(name for result in good for name in result.members)
    if not names:
        return {}
    columns: dict[str, list[float | None]] = {name: [] for name in [*names, "std"]}
    for given, result in zip(inputs, results, strict=True):
        for name, column in columns.items():
            column.extend(_column(name, result, len(given["responses"])))
    return columns


def _column(name: str, result: Scored, count: int) -> Sequence[float | None]:
    if isinstance(result, GuerdonError):
        return [None] * count
    values: Sequence[float | None] | None = result.std if name == "std" else result.members.get(name)
    kept = range(count) if result.kept is None else result.kept
    found = dict(zip(kept, values or [None] * len(kept), strict=True))
    return [found.get(index) for index in range(count)]
