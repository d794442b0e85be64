"""A cheap guard before a judge: responses that hold no answer, or speak to the judge instead of answering.

It knows what is known: a policy that is trained long enough against a judge finds a way past it. `guerdon audit`
measures what gets through, here and past the judge itself.
"""

from typing import Literal

from guerdon.domain.strict import Strict
from guerdon.scorers.judges.content_free import content_free, empty_value, same_answer
from guerdon.scorers.judges.injection import injected

Suspicion = Literal["content_free", "injection"]


class GuardSettings(Strict):
    """Which responses a judge is not shown; they get the lowest score of its recipe."""

    content_free: Literal["refuse", "off"] = "refuse"
    injection: Literal["refuse", "off"] = "refuse"


def suspicion(response: str, reference: str | None = None) -> Suspicion | None:
    """Why a judge had better not see a response; None for an honest one, and for any that equals its reference.

    "content_free": punctuation, or an opening such as "Solution:", and nothing behind it; without a reference, "[]" and
    "{}" are answers. "injection": it commands the
    judge, or forges a marker or a verdict; to quote such a thing in an answer is honest. Pure, and linear in the text.
    """
    if reference is not None and same_answer(response, reference):
        return None
    if content_free(response) and not (reference is None and empty_value(response)):
        return "content_free"
    return "injection" if injected(response) else None
