"""The verdict in what a model wrote: what it thought is passed over, and JSON is read as it stands or not at all."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import orjson

from guerdon.domain.chat import Generation
from guerdon.scorers.judges.recipe import Unparsable

T = TypeVar("T")

_THOUGHT = r"(?:think|thinking|seed:think)"
_THOUGHT_ENDS = re.compile(rf"</{_THOUGHT}>|◁/think▷|\[/THINK\]", re.IGNORECASE)
_THOUGHT_BEGINS = re.compile(rf"<{_THOUGHT}>|◁think▷|\[THINK\]", re.IGNORECASE)
_JSON_FENCE = re.compile(r"^[ \t]*```json\b", re.IGNORECASE | re.MULTILINE)


def verdict_of(generation: Generation, read: Callable[[str], T]) -> T:
    """What ``read`` makes of the answer behind its thoughts. Raises Unparsable.

    An answer that was cut counts only where it ends with its verdict: of a longer one nobody knows what was to come.
    """
    cut = generation.finish == "length"
    try:
        if cut and not generation.text.rstrip().endswith("}"):
            raise Unparsable("its verdict was still to come")
        return read(_answer(generation))
    except Unparsable as problem:
        if cut:
            raise Unparsable(f"the answer was cut at max_tokens: {problem}") from problem
        raise


def without_thoughts(text: str) -> str:
    """What stands behind the last thought; also where the thought's beginning was part of the prompt."""
    answer = _THOUGHT_ENDS.split(text)[-1].strip()
    if _THOUGHT_BEGINS.search(answer):
        raise Unparsable("the model was still thinking: its thought never ends")
    return answer


def json_object(text: str, repaired: Callable[[str], str] | None = None) -> dict[str, Any]:
    """The last JSON object of a text, never one that is part of a broken other. Raises Unparsable.

    Prose and code fences may surround it. Where nothing can be read, the text from the first brace to the last is
    tried once more, ``repaired``.
    """
    made = _last_object(text) if repaired is None else _last_repaired(text, repaired)
    try:
        orjson.dumps(made)
    except orjson.JSONEncodeError as error:  # what cannot be written again, can be told to nobody
        raise Unparsable("the answer's JSON is nested too deep, or has a number or letter beyond all bounds") from error
    return made


def shown(what: object) -> str:
    """What a model wrote, short enough for an error message."""
    text = " ".join(what.split()) if isinstance(what, str) else json.dumps(what, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"


class _NoJson(Unparsable):
    """No object can be read."""


def _answer(generation: Generation) -> str:
    answer = without_thoughts(generation.text)
    if not answer:
        thought = generation.reasoning.strip() or generation.text.strip()
        raise Unparsable("the model thought, but did not answer" if thought else "the answer is empty")
    return answer


def _last_repaired(text: str, repaired: Callable[[str], str]) -> dict[str, Any]:
    try:
        return _last_object(text)
    except _NoJson as problem:
        try:
            return _last_object(repaired(text[text.find("{") : text.rfind("}") + 1]))
        except _NoJson:
            raise problem from None


def _last_object(text: str) -> dict[str, Any]:
    try:
        return _objects(text)[-1]
    except _NoJson:
        fences = list(_JSON_FENCE.finditer(text))
        if not fences:
            raise
        return _objects(text[fences[-1].end() :])[-1]


def _objects(text: str) -> list[dict[str, Any]]:
    """All objects that stand side by side; at least one."""
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        try:
            made, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise _NoJson(f"the answer's JSON cannot be read: {_short(error)}") from error
        found.append(made)
        start = text.find("{", end)
    if not found:
        raise _NoJson("the answer holds no JSON object")
    return found


def _short(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    return "it is nested too deep" if isinstance(error, RecursionError) else "it has a number that is too long"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise Unparsable(f"the key {shown(key)} is there twice")
        made[key] = value
    return made


def _no_number(text: str) -> NoReturn:
    raise Unparsable(f"{shown(text)} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


# Models break lines inside of strings; that changes no meaning.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_no_number, parse_float=_finite, strict=False
)
