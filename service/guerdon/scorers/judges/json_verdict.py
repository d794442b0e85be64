"""The verdict in what a model wrote: what it thought is passed over, and JSON is read as it stands or not at all."""

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import orjson

from guerdon.domain.chat import Generation
from guerdon.scorers.judges.recipe import Unparsable

T = TypeVar("T")
C = TypeVar("C")
Json = dict[str, Any]

_MOST_CANDIDATES = 200

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


def agreed(candidates: Sequence[C], read: Callable[[C], T], what_counts: Callable[[T], object] = lambda one: one) -> T:
    """What ``read`` makes of the last candidate. Raises Unparsable.

    An earlier one that is no verdict was an example or a quotation; one that is another verdict leaves open which of
    them is meant.
    """
    if len(candidates) > _MOST_CANDIDATES:
        raise Unparsable(f"it holds {len(candidates)} objects or boxes, which may all be verdicts")
    verdict = read(candidates[-1])
    for candidate in candidates[:-1]:
        try:
            other = read(candidate)
        except Unparsable:
            continue
        if what_counts(other) != what_counts(verdict):
            raise Unparsable("it holds two verdicts that differ")
    return verdict


def json_objects(text: str, repaired: Callable[[str], str] | None = None) -> tuple[list[Json], str]:
    """The JSON objects of a text, at least one and never a part of a broken other, and the text around them.

    Prose and code fences may surround them. Where nothing can be read, the text from the first brace to the last is
    tried once more, ``repaired``. Raises Unparsable.
    """
    found, around = _readable(text) if repaired is None else _readable_if_repaired(text, repaired)
    try:
        orjson.dumps(found[-1])
    except orjson.JSONEncodeError as error:  # what cannot be written again, can be told to nobody
        raise Unparsable("the answer's JSON is nested too deep, or has a number or letter beyond all bounds") from error
    return found, around


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


def _readable_if_repaired(text: str, repaired: Callable[[str], str]) -> tuple[list[Json], str]:
    try:
        return _readable(text)
    except _NoJson as problem:
        try:
            return _readable(repaired(text[text.find("{") : text.rfind("}") + 1]))
        except _NoJson:
            raise problem from None


def _readable(text: str) -> tuple[list[Json], str]:
    """The objects of the whole text, or of what stands behind its fences: of the last one at least."""
    try:
        return _objects(text)
    except _NoJson:
        starts = [fence.end() for fence in _JSON_FENCE.finditer(text)]
        if not starts:
            raise
    found, around = _objects(text[starts[-1] :])
    parts = [text[: starts[0]], *(text[start:end] for start, end in itertools.pairwise(starts))]
    for part in reversed(parts):
        try:
            before, beside = _objects(part)
        except _NoJson:
            before, beside = [], part
        found, around = before + found, beside + around
    return found, around


def _objects(text: str) -> tuple[list[Json], str]:
    """All objects that stand side by side, at least one; and what stands between."""
    found: list[Json] = []
    around, end = [], 0
    start = text.find("{")
    while start >= 0:
        around.append(text[end:start])
        try:
            made, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise _NoJson(f"the answer's JSON cannot be read: {_short(error)}") from error
        found.append(made)
        start = text.find("{", end)
    if not found:
        raise _NoJson("the answer holds no JSON object")
    return found, "".join([*around, text[end:]])


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
