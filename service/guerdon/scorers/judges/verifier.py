"""A judge that says whether a response arrives at the reference: YES or NO."""

from typing import Any

from guerdon.domain.chat import Generation
from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, Turns
from guerdon.domain.strict import Strict
from guerdon.scorers.judges.asking import written
from guerdon.scorers.judges.choices import Verdict, chat, mass, probabilities
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Vote

_CHOICES = ("YES", "NO")


class VerifierSettings(Strict):
    """What is the verifier's own."""

    verdict: Verdict = "logits"


class Verifier:
    """Scores a response by the probability of YES, or 1 and 0 where the verdict is read as text.

    With logits the model is not sampled, and votes do not differ.
    """

    uses = frozenset({"reference"})
    set_wise = False
    least = 1
    floor = 0.0

    def __init__(self, settings: VerifierSettings, judging: Judging, prompt: Prompt) -> None:
        self._verdict, self._judging, self._prompt = settings.verdict, judging, prompt

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts."""
        return ("verifier/2", self._prompt.source, self._verdict, self._judging.model_dump_json())

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """The verdict on the sample's one response. Raises Invalid without a reference, and as a recipe does."""
        answer = await ask(chat(self._question(sample), _CHOICES, self._verdict, self._judging, seed))
        yes, no = probabilities(answer, _CHOICES, self._verdict, self._judging)
        more: dict[str, Any] = {"verdict": "YES" if yes > no else "NO", "probability": yes}
        if self._verdict == "logits":
            more["mass"] = mass(answer.first, _CHOICES)
        return Vote(scores=(yes,), rationale=self._rationale(answer), more=more)

    def _question(self, sample: Sample) -> Turns:
        if not (sample.reference or "").strip():
            raise Invalid("a verifier needs a reference to hold responses against", field="reference")
        return self._prompt.turns(
            {
                "question": written(sample.messages),
                "response": written(sample.responses[0]),
                "reference": fenced(sample.reference or ""),
            }
        )

    def _rationale(self, answer: Generation) -> str:
        return (answer.reasoning or answer.text) if self._verdict == "text" else ""
