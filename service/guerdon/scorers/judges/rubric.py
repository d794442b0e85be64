"""The recipe ``rubric``: the user's own prompt, and the user's own form of a verdict."""

import json
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator

from guerdon.domain.errors import Invalid, NotServable
from guerdon.domain.samples import Sample, assistant, user
from guerdon.domain.strict import Strict
from guerdon.scorers.judges.asking import chat_of, written
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced
from guerdon.scorers.judges.json_verdict import verdict_of
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Recipe, Vote
from guerdon.scorers.judges.rubric_form import Form, bounded, default_output

_BLANKS = ("prompt", "messages", "response", "reference", "principle", "output", "low", "high")


class RubricSettings(Strict):
    """What a verdict looks like, and where in it the score is."""

    output: dict[str, Any] | None = Field(
        None, description="JSON schema of the verdict; by default {analysis: text, score: number within range}"
    )
    score: str = Field(
        "score", min_length=1, description="key of the score; `verdict.score` or `/verdict/score` if deeper"
    )
    range: tuple[float, float] = Field((1.0, 5.0), description="lowest and highest score")

    @model_validator(mode="after")
    def _goes_up(self) -> "RubricSettings":
        if self.range[0] >= self.range[1]:
            raise ValueError("range is [lowest, highest]")
        return self


class Rubric(Recipe):
    """Reads one response at a time with a prompt of the user's, and takes the score out of the JSON that comes back.

    A vote's ``more`` has that JSON as ``verdict``.
    """

    set_wise = False
    least = 1

    def __init__(self, settings: RubricSettings, judging: Judging, prompt: Prompt) -> None:
        """Raises NotServable where the schema is none, or the prompt cannot be filled."""
        self._settings, self._judging, self._prompt = settings, judging, prompt
        self.floor = settings.range[0]
        self.uses = prompt.check(_BLANKS, [{"response"}]) & {"reference", "principle"}
        output = settings.output or default_output(settings.range)
        self._form = Form(output, settings.score, settings.range)
        self._schema = json.dumps(bounded(output, judging.rationale_chars))
        self._try_prompt()

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts."""
        return ("rubric/2", self._prompt.source, self._settings.model_dump_json(), self._judging.model_dump_json())

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """A vote. Raises Unparsable, or ServiceError."""
        messages = self._prompt.turns(self._values(sample))
        generation = await ask(chat_of(messages, self._judging, seed, self._schema))
        verdict, score = verdict_of(generation, self._form.read)
        return Vote(scores=(score,), rationale=generation.text, more={"verdict": verdict})

    def _try_prompt(self) -> None:
        """Fill the prompt once, with optional fields and without."""
        ask = Sample(messages=user("a prompt"), responses=(assistant("a response"),))
        for sample in (ask, replace(ask, reference="a reference", principle="a principle")):
            try:
                self._prompt.turns(self._values(sample))
            except Invalid as error:
                raise NotServable(error.message) from error

    def _values(self, sample: Sample) -> dict[str, Any]:
        low, high = self._settings.range
        return {
            "prompt": written(sample.messages),
            "messages": [{"role": fenced(turn.role), "content": fenced(turn.content)} for turn in sample.messages],
            "response": written(sample.responses[0]),
            "reference": fenced(sample.reference or ""),
            "principle": fenced(sample.principle or ""),
            "output": self._schema,
            "low": f"{low:g}",
            "high": f"{high:g}",
        }
