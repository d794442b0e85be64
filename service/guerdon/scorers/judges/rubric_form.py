"""The form of a rubric's verdict: a JSON schema, and where the score is in what follows it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema
from jsonschema.validators import Draft202012Validator, validator_for

from guerdon.domain.errors import NotServable
from guerdon.domain.strict import nearest
from guerdon.scorers.judges.json_verdict import Json, agreed, json_objects, shown
from guerdon.scorers.judges.recipe import Unparsable

_NUMERIC = {"number", "integer"}
_NOT_FREE = {"enum", "const", "maxLength", "pattern", "format"}

Range = tuple[float, float]


class Form:
    """Verdicts that follow ``output``; their score, within ``bounds``, is at ``place``."""

    def __init__(self, output: Json, place: str, bounds: Range) -> None:
        """Raises NotServable where no score can be at that place, or the schema is none."""
        _check_schema(output)
        self._validator = validator_for(output, default=Draft202012Validator)(output)
        self._place, self._bounds = place, bounds
        self._steps = _steps(place)
        _check_range(place, _checked_place(place, self._steps, output), bounds)

    def read(self, text: str) -> tuple[Json, float]:
        """The verdict in an answer, and its score. Raises Unparsable."""
        objects, _ = json_objects(text)
        return agreed(objects, self._read, what_counts=lambda read: read[1])

    def _read(self, verdict: Json) -> tuple[Json, float]:
        try:
            fault = next(self._validator.iter_errors(verdict), None)
        except RecursionError as error:
            raise Unparsable("the verdict is nested too deep") from error
        if fault is not None:
            where = ".".join(str(step) for step in fault.absolute_path) or "the verdict"
            raise Unparsable(f"{shown(where)} does not follow the schema: `{fault.validator}`")
        return verdict, self._score(verdict)

    def _score(self, verdict: Json) -> float:
        found: Any = verdict
        for step in self._steps:
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (LookupError, TypeError, ValueError) as error:
                raise Unparsable(f"the verdict has no `{self._place}`") from error
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Unparsable(f"`{self._place}` is {shown(found)}, which is no number")
        low, high = self._bounds
        if not low <= found <= high:
            raise Unparsable(f"`{self._place}` is {shown(found)}: outside of {low:g} to {high:g}")
        return float(found)


def default_output(bounds: Range) -> Json:
    """Reasons, then a score: a whole number where both ends of its range are whole."""
    score: Json
    low, high = bounds
    if not (low.is_integer() and high.is_integer()):
        score = {"type": "number", "minimum": low, "maximum": high}
    elif high - low > 100:
        score = {"type": "integer", "minimum": int(low), "maximum": int(high)}
    else:  # engines that hold an answer to a schema know lists of values better than bounds
        score = {"type": "integer", "enum": list(range(int(low), int(high) + 1))}
    return {
        "type": "object",
        "properties": {"analysis": {"type": "string"}, "score": score},
        "required": ["analysis", "score"],
        "additionalProperties": False,
    }


def bounded(output: Any, chars: int) -> Any:
    """The schema, each text in it at most ``chars`` long where it does not say itself what texts it allows."""
    if isinstance(output, list):
        return [bounded(item, chars) for item in output]
    if not isinstance(output, dict):
        return output
    made = {key: bounded(value, chars) for key, value in output.items()}
    return made | {"maxLength": chars} if made.get("type") == "string" and not _NOT_FREE & set(made) else made


def _check_schema(output: Json) -> None:
    kind = validator_for(output, default=Draft202012Validator)
    try:
        kind.check_schema(output)
        for reference in _references(output):
            _resolve(reference, output)
        kind(output).is_valid({})
    except jsonschema.SchemaError as error:
        where = "".join(f"[{step!r}]" for step in error.absolute_path)
        raise NotServable(f"output{where} is no JSON schema: {error.message[:200]}") from error
    except RecursionError as error:
        raise NotServable("output: the schema refers to itself without end") from error
    if output.get("type") != "object":
        raise NotServable("output: a verdict is an object, so the schema's `type` is `object`")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _resolve(reference: str, output: Json) -> None:
    """Nothing is fetched: a reference stays inside of the schema."""
    found: Any = output
    try:
        if reference[:2] not in ("#", "#/"):
            raise LookupError(reference)
        for step in _steps(reference[1:]) if len(reference) > 1 else ():
            found = found[int(step)] if isinstance(found, list) else found[step]
    except (LookupError, TypeError, ValueError) as error:
        raise NotServable(f"output: `{reference}` refers to nothing in the schema (`#/$defs/...` does)") from error


def _steps(place: str) -> list[str]:
    """``verdict.score`` or, where keys have dots, ``/verdict/score``: a JSON pointer."""
    if not place.startswith("/"):
        return place.split(".")
    return [step.replace("~1", "/").replace("~0", "~") for step in place[1:].split("/")]


def _checked_place(place: str, steps: Sequence[str], output: Json) -> Json:
    """The schema of the score, as far as the schema tells: what it leaves open, an answer will show."""
    found: Any = output
    for step in steps:
        if not isinstance(found, dict) or "$ref" in found:
            return {}
        if found.get("type") == "array":
            found = found.get("items")
            continue
        known = found.get("properties")
        if not isinstance(known, dict):
            return {}
        if step not in known:
            near = nearest(step, known)
            hint = f"did you mean `{near}`?" if near else f"it has {', '.join(known) or 'none'}"
            raise NotServable(f"score: the schema has no `{place}`; {hint}")
        found = known[step]
    kind = found.get("type") if isinstance(found, dict) else None
    if kind and not _NUMERIC & set([kind] if isinstance(kind, str) else kind):
        raise NotServable(f"score: `{place}` is no number in the schema, but {kind}")
    return found if isinstance(found, dict) else {}


def _check_range(place: str, score: Json, bounds: Range) -> None:
    for key, bound in zip(("minimum", "maximum"), bounds, strict=True):
        if key in score and score[key] != bound:
            low, high = bounds
            raise NotServable(
                f"range: it is [{low:g}, {high:g}], but `{key}` of `{place}` in the schema is {score[key]:g}; "
                "let them say the same"
            )
