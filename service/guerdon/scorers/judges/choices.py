"""Verdicts that are one of a few words: how they are asked for, weighed and read."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.samples import Turns
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.recipe import Unparsable

Verdict = Literal["logits", "text"]
"""Whether a verdict is a probability, from the first token's logits, or the word that was written."""

MIN_MASS = 0.5
"""The least share of the first token's probability that the choices must hold for it to be a verdict.

Where a server does not hold the model to the choices, it may be about to write something else; what the choices weigh
in the tail then says nothing.
"""

_ALTERNATIVES = 20
_WORD_TOKENS = 8
_SHOWN = 40

_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THINKING = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(r"^\s*```[\w-]*\s")
_AROUND = " \t\r\n*_`#>~\"'“”‘’«»„「」『』()[]{}$-•:"  # noqa: RUF001
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")  # noqa: RUF001
_PART = re.compile(r"[^\W_]+")
_CLOSING = "*_`\"'”’»」』)]}$"  # noqa: RUF001
_PRAISE = re.compile(r"[ \t]+(?:is better|wins)\b")
_TITLE = re.compile(r"[ \t]*:[*_ \t]*[^\W_]")
_STOP = re.compile(r"[ \t]*(?:[.,;:!。、،…–—\n]|-+(?!\w)|```|$)")  # noqa: RUF001


def chat(turns: Turns, choices: Sequence[str], verdict: Verdict, judging: Judging, seed: int) -> Chat:
    """A question of which the answer is one of the choices. Logits are read where the model is not sampled."""
    logits = verdict == "logits"
    return Chat(
        messages=turns,
        max_tokens=min(_WORD_TOKENS, judging.max_tokens) if logits else judging.max_tokens,
        temperature=0.0 if logits else judging.temperature,
        top_p=1.0 if logits else judging.top_p,
        seed=seed,
        choices=tuple(choices) if judging.structured else (),
        alternatives=_ALTERNATIVES if logits else 0,
    )


def probabilities(answer: Generation, choices: Sequence[str], verdict: Verdict, judging: Judging) -> tuple[float, ...]:
    """How probable each choice is to the model, or 1 for the one that it wrote. Raises Unparsable."""
    if verdict == "text":
        chosen = told(answer, choices)
        return tuple(float(place == chosen) for place in range(len(choices)))
    if not answer.first:
        raise Unparsable("the engine gives no log-probabilities; with `verdict: text` the written word is the verdict")
    if answer.reasoning:
        raise Unparsable("the model thinks before its verdict, so its first token is none; use `verdict: text`")
    held = mass(answer.first, choices)
    weights = weighed(answer.first, choices)
    if held < MIN_MASS or weights is None:
        raise Unparsable(
            f"{' and '.join(choices)} hold {held:.2g} of the first token's probability, and need {MIN_MASS:g} to be a"
            " verdict; with `verdict: text` the written word is the verdict"
        )
    spoken(answer.text, choices)
    return weights


def mass(first: Mapping[str, float], choices: Sequence[str]) -> float:
    """Which share of the first token's probability the choices hold; servers round, and it is never more than 1."""
    return min(1.0, math.fsum(math.exp(min(log, 0.0)) for _, log in _counted(first, choices)))


def weighed(first: Mapping[str, float], choices: Sequence[str]) -> tuple[float, ...] | None:
    """The choices' probabilities, from the log-probabilities of the first token; they sum to 1.

    A token counts for the one choice that it begins, or that it is, with or without punctuation behind it; white space
    before it and case do not matter. A token that may become several choices counts for none. None where none counts.
    """
    counted = _counted(first, choices)
    highest = max((log for _, log in counted), default=-math.inf)
    if not math.isfinite(highest):
        return None
    sums = [0.0] * len(choices)
    for place, log in counted:
        sums[place] += math.exp(log - highest)
    return tuple(one / sum(sums) for one in sums)


def told(answer: Generation, choices: Sequence[str]) -> int:
    """Which choice was written; an answer that was cut says so. Raises Unparsable."""
    try:
        return spoken(answer.text, choices)
    except Unparsable as error:
        if answer.finish == "length":
            raise Unparsable(f"the answer was cut at max_tokens without a verdict: {error}") from error
        raise


def spoken(text: str, choices: Sequence[str]) -> int:
    """Which choice a free answer starts with, once thoughts, markup and quotation marks are gone. Raises Unparsable.

    It must be a whole word that ends a clause: a line, a sentence, or with punctuation; for a choice of one letter,
    "is better" and "wins" may come first. No other choice may stand behind it as a word; a small "a" is none. "A is
    worse", "A: wrong", "No doubt, YES" and "YES, NO" are no verdicts.
    """
    verdict = _without_thoughts(unicodedata.normalize("NFKC", text))
    said = _FENCE.sub("", verdict).lstrip(_AROUND)
    word = _WORD.match(said)
    if word is None:
        raise Unparsable("there is no verdict" if not said else f"no word comes first in {_shown(verdict)}")
    place = _place(word[0], choices)
    if place is None:
        raise Unparsable(f"the first word is {_shown(word[0])}, not one of {', '.join(choices)}")
    rest = said[word.end() :]
    _no_other(rest, choices, place)
    _ends(rest, choices[place])
    return place


def _without_thoughts(text: str) -> str:
    rest = _THOUGHT.split(text)[-1]
    if _THINKING.search(rest):
        raise Unparsable("a thought is begun and not ended, and there is no verdict behind it")
    return rest


def _no_other(rest: str, choices: Sequence[str], place: int) -> None:
    """Raises Unparsable where another choice is named behind the first; a small "a" is an article."""
    for word in _PART.findall(rest):
        if word != "a" and _place(word, choices) not in (None, place):
            raise Unparsable(f"several choices are named: {choices[place]} and {word}")


def _ends(rest: str, choice: str) -> None:
    """Raises Unparsable where a sentence goes on that the choice only begins."""
    behind, letter = rest.lstrip(_CLOSING), len(choice) == 1
    praise = _PRAISE.match(behind) if letter else None
    if praise:
        behind = behind[praise.end() :].lstrip(_CLOSING)
    described = letter and not praise and _TITLE.match(behind)
    if described or not _STOP.match(behind):
        raise Unparsable(f"{choice} is followed by {_shown(behind.strip())} and may not be meant as the verdict")


def _place(word: str, choices: Sequence[str]) -> int | None:
    folded = [choice.casefold() for choice in choices]
    return folded.index(word.casefold()) if word.casefold() in folded else None


def _counted(first: Mapping[str, float], choices: Sequence[str]) -> list[tuple[int, float]]:
    """The tokens that count for a choice: which one, and their log-probabilities."""
    return [(place, log) for token, log in first.items() if (place := _choice_of(token, choices)) is not None]


def _choice_of(token: str, choices: Sequence[str]) -> int | None:
    text = token.lstrip().casefold()
    if not text:
        return None
    fits = [place for place, choice in enumerate(choices) if _fits(text, choice.casefold())]
    return fits[0] if len(fits) == 1 else None


def _fits(text: str, choice: str) -> bool:
    return choice.startswith(text) or (text.startswith(choice) and not text[len(choice)].isalnum())


def _shown(text: str) -> str:
    plain = " ".join(text.split())
    return repr(plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…")
