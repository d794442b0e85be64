"""The recipe ``principle``: a criterion that is given at run time, and scores with a ranking that must agree."""

import itertools
import json
import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from pydantic import Field

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample
from guerdon.domain.strict import Strict
from guerdon.scorers.judges.asking import chat_of, shown_order, written
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced
from guerdon.scorers.judges.json_verdict import Json, agreed, json_objects, shown, verdict_of
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Recipe, Unparsable, Vote

_LOW, _HIGH = 1, 5
_RANKING, _MISSPELT = "best-to-worst", "best-to-worse"
_REPAIRABLE = re.compile(
    r'(?P<kept>"(?:\\.|[^"\\])*+"?)'
    r"|'(?P<quoted>[^'\"\n]*)'"
    r"|(?<=[{,\s])(?P<bare>[A-Za-z_][\w-]*)(?=\s*:)"
    r"|(?P<trailing>,)(?=\s*[}\]])",
    re.DOTALL,
)
_SPELT_OUT = 4
"""Of so many names there are 24 orders."""


class PrincipleSettings(Strict):
    """What is judged by, where a request does not say."""

    principle: str | None = Field(None, description="for requests without one; without it, they are refused")
    analysis: bool = Field(True, description="reasons come first in an answer that is held to a schema")


class Principle(Recipe):
    """Reads all responses at once under masked names, in an order that the seed decides.

    Each gets a whole number from 1 to 5, and they are ranked; ``best_to_worst`` of a vote's ``more`` are the indices
    of the responses, which tells those of the same score apart. A ranking that contradicts the scores is no verdict.
    """

    uses = frozenset({"principle"})
    set_wise = True
    least = 1
    floor = float(_LOW)

    def __init__(self, settings: PrincipleSettings, judging: Judging, prompt: Prompt) -> None:
        self._settings, self._judging, self._prompt = settings, judging, prompt

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts."""
        return ("principle/2", self._prompt.source, self._settings.model_dump_json(), self._judging.model_dump_json())

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """A vote. Raises Unparsable, Invalid where no principle is known, or another ServiceError."""
        order = shown_order(len(sample.responses), seed)
        names = [f"model-{place}" for place in range(1, len(order) + 1)]
        reasons_first = self._judging.structured and self._settings.analysis
        request = self._request(sample, names, order)
        wire = json.dumps(request, ensure_ascii=False)
        messages = self._prompt.turns({**request, "request": wire, "analysis": reasons_first})
        schema = json.dumps(schema_of(names, self._judging.rationale_chars if reasons_first else 0))
        generation = await ask(chat_of(messages, self._judging, seed, schema))
        scores, ranking = verdict_of(generation, lambda text: read_verdict(text, names))
        index = dict(zip(names, order, strict=True))
        by_response = {index[name]: float(score) for name, score in scores.items()}
        return Vote(
            scores=tuple(by_response[response] for response in range(len(order))),
            rationale=generation.text,
            more={"best_to_worst": [index[name] for name in ranking]},
        )

    def _request(self, sample: Sample, names: Sequence[str], order: Sequence[int]) -> dict[str, Any]:
        """What models that are trained for this form expect in the user's turn, as JSON."""
        principle = sample.principle if sample.principle and sample.principle.strip() else self._settings.principle
        if not principle:
            raise Invalid("a principle to judge by is needed, and the configuration has none", field="principle")
        responses = {name: written(sample.responses[index]) for name, index in zip(names, order, strict=True)}
        return {"principle": fenced(principle), "prompt": written(sample.messages), "responses": responses}


def schema_of(names: Sequence[str], chars: int) -> dict[str, Any]:
    """What an answer on responses of these names looks like; with at most ``chars`` of reasons before, if any."""
    # Engines that hold an answer to a schema know lists of values better than bounds.
    score = {"type": "integer", "enum": list(range(_LOW, _HIGH + 1))}
    scores = {
        "type": "object",
        "properties": dict.fromkeys(names, score),
        "required": list(names),
        "additionalProperties": False,
    }
    ranking = _ranking_of(names)
    properties = {"scores": scores, _RANKING: ranking}
    if chars:
        properties = {"analysis": {"type": "string", "maxLength": chars}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ranking_of(names: Sequence[str]) -> dict[str, Any]:
    """A list of the names: of few, each order is spelt out, so that none can name one twice."""
    if len(names) <= _SPELT_OUT:
        return {"enum": [list(order) for order in permutations(names)]}
    return {
        "type": "array",
        "items": {"type": "string", "enum": list(names)},
        "minItems": len(names),
        "maxItems": len(names),
    }


def read_verdict(text: str, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """The scores by name, and the names from best to worst. Raises Unparsable."""
    objects, _ = json_objects(text, _repaired)
    return agreed(objects, lambda one: _verdict(one, names))


def _verdict(verdict: Json, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    if _MISSPELT in verdict and _RANKING in verdict:
        raise Unparsable("there are two rankings")
    scores, ranking = verdict.get("scores"), verdict.get(_RANKING, verdict.get(_MISSPELT))
    if not isinstance(scores, dict) or not isinstance(ranking, list):
        raise Unparsable(f"`scores` is to be an object, and `{_RANKING}` a list; both are needed")
    _check_names("scores", list(scores), names)
    _check_names(_RANKING, ranking, names)
    for name, score in scores.items():
        if isinstance(score, bool) or not isinstance(score, int) or not _LOW <= score <= _HIGH:
            raise Unparsable(f"the score of {name} is {shown(score)}: no whole number from {_LOW} to {_HIGH}")
    for better, worse in itertools.pairwise(ranking):
        if scores[better] < scores[worse]:
            raise Unparsable(f"{better} is ranked before {worse}, but scored lower ({scores[better]}, {scores[worse]})")
    return scores, ranking


def _check_names(field: str, given: Sequence[Any], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise Unparsable(f"`{field}` names {shown(name)}, which is no response")
        if given.count(name) > 1:
            raise Unparsable(f"`{field}` names {name} more than once")
    for name in names:
        if name not in given:
            raise Unparsable(f"`{field}` leaves out {name}")


def _repaired(text: str) -> str:
    """JSON with the faults put right that models of this form make: quotes, bare keys, trailing commas."""
    return _REPAIRABLE.sub(_repair, text)


def _repair(fault: re.Match[str]) -> str:
    if fault["trailing"]:
        return ""
    if fault["kept"]:
        return fault["kept"]
    return f'"{fault["quoted"] if fault["bare"] is None else fault["bare"]}"'
