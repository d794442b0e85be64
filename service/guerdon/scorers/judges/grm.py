"""The recipe ``grm``: criteria of its own for each request, a critique, and a score for every response."""

import json
import re
from typing import Any

from guerdon.domain.samples import Sample
from guerdon.domain.strict import Strict
from guerdon.scorers.judges.asking import chat_of, shown_order, written
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.json_verdict import Json, agreed, json_objects, shown, verdict_of
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Recipe, Unparsable, Vote

_SCALE = (1, 10)
_BOX = re.compile(r"\s*\{([^{}]*)\}")
_COMMA = re.compile("[,\uff0c\u3001\u060c]")  # as written in Latin, Chinese, Japanese and Arabic
_NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.\d{1,9})?")


class GrmSettings(Strict):
    """The scale is that of the models that are trained for this form: nothing is left to set."""


class Grm(Recipe):
    """Reads all responses at once, in an order that the seed decides, and gives each a score.

    Scores go from 1 to 10; a response that stands alone gets 0 or 1. As the floor is one for both, it is 0: below
    all scores where there are several responses.
    """

    uses = frozenset[str]()
    set_wise = True
    least = 1
    floor = 0.0

    def __init__(self, settings: GrmSettings, judging: Judging, prompt: Prompt) -> None:
        self._settings, self._judging, self._prompt = settings, judging, prompt

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts."""
        return ("grm/2", self._prompt.source, self._settings.model_dump_json(), self._judging.model_dump_json())

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """A vote. Raises Unparsable, or ServiceError."""
        count = len(sample.responses)
        order = shown_order(count, seed)
        messages = self._prompt.turns(
            {
                "conversation": written(sample.messages),
                "responses": [written(sample.responses[index]) for index in order],
                "structured": self._judging.structured,
            }
        )
        schema = json.dumps(schema_of(count, self._judging.rationale_chars))
        generation = await ask(chat_of(messages, self._judging, seed, schema))
        found = verdict_of(generation, lambda text: read_scores(text, count))
        by_response = dict(zip(order, found, strict=True))
        return Vote(scores=tuple(by_response[index] for index in range(count)), rationale=generation.text)


def schema_of(count: int, chars: int) -> dict[str, Any]:
    """What an answer on so many responses looks like: reasons first, each at most ``chars`` long."""
    text = {"type": "string", "maxLength": chars}
    low, high = _scale(count)
    # Engines that hold an answer to a schema know lists of values better than bounds.
    score = {"type": "integer", "enum": list(range(low, high + 1))}
    scores = {"type": "array", "items": score, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {"criteria": text, "analysis": text, "scores": scores},
        "required": ["criteria", "analysis", "scores"],
        "additionalProperties": False,
    }


def read_scores(text: str, count: int) -> tuple[float, ...]:
    r"""The scores in an answer, in the order shown: of its JSON, or in its last ``\boxed{}``. Raises Unparsable.

    Models quote the form, and results of the responses, before: what could not be their scores is passed over.
    """
    if '"scores"' in text or ("{" in text and r"\boxed" not in text):
        objects, around = json_objects(text)
        candidates: list[str | Json] = [*_boxes(around), *objects]
        return agreed(candidates, lambda one: _scores(one, count))
    boxes = _boxes(text)
    if not boxes:
        raise Unparsable(r"the answer has no \boxed{} and no JSON object")
    return agreed(boxes, lambda one: _scores(one, count))


def _boxes(text: str) -> list[str]:
    r"""What follows each ``\boxed``, up to the next."""
    return text.split(r"\boxed")[1:]


def _scores(candidate: str | Json, count: int) -> tuple[float, ...]:
    numbers = _boxed(candidate) if isinstance(candidate, str) else _listed(candidate)
    if len(numbers) != count:
        raise Unparsable(f"{len(numbers)} scores for {count} responses")
    return tuple(_in_range(number, count) for number in numbers)


def _boxed(behind: str) -> list[float]:
    box = _BOX.match(behind)
    if not box:
        raise Unparsable(r"the last \boxed{} of the answer is not closed, or holds more than numbers")
    parts = [part.strip() for part in _COMMA.split(box[1])]
    for part in parts:
        if not _NUMBER.fullmatch(part):
            raise Unparsable(rf"{shown(part)} in the last \boxed{{}} is no number")
    return [float(part) for part in parts]


def _listed(verdict: Json) -> list[float]:
    scores = verdict.get("scores")
    if not isinstance(scores, list):
        raise Unparsable("the answer's JSON has no list `scores`")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise Unparsable(f"{shown(score)} among `scores` is no number")
    return scores


def _in_range(number: float, count: int) -> float:
    low, high = _scale(count)
    if not low <= number <= high or (count == 1 and number not in (low, high)):
        raise Unparsable(f"{number:g} is no score: " + ("0 or 1" if count == 1 else f"{low} to {high}"))
    return float(number)


def _scale(count: int) -> tuple[int, int]:
    return (0, 1) if count == 1 else _SCALE
