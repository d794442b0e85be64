"""Which good and worse answers a prompt is trained on, and which ones it is measured with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from corruptions import KINDS, Source, corruptions, load_forms
from dataset import Question

TRAINING_COUNTS = dict.fromkeys(KINDS, 5) | {
    "off_topic": 20,
    "related": 16,
    "gibberish": 9,
    "repetitive": 7,
    "truncated": 12,
    "keyword_filler": 7,
    "padded": 10,
    "wrong_fact": 1,
}
HELD_OUT_COUNTS = dict.fromkeys(KINDS, 3) | {"wrong_fact": 1}
OPENERS = (
    "Sure!",
    "Of course.",
    "Yes, gladly.",
    "Here is what I'd do.",
    "Here you go:",
    "Short answer:",
    "Good question.",
)
CLOSERS = ("Good luck!", "Hope that helps!", "Enjoy!", "Let me know how it goes.", "Tell me if anything is unclear.")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt, its good answers, and worse ones with their kinds."""

    question: Question
    good: tuple[str, ...]
    worse: tuple[tuple[str, str], ...]


def training_comparisons(questions: Sequence[Question], seed: int = 0) -> list[Comparison]:
    """Good answers as written and in a few other lengths and frames, against every kind of worse one."""
    forms = load_forms("training")
    return [
        Comparison(
            question,
            tuple(dict.fromkeys(_variants(question, Random(f"{seed}/{question.id}")))),
            _worse(Source(question, questions, forms, "training"), TRAINING_COUNTS, seed),
        )
        for question in questions
    ]


def held_out_comparisons(questions: Sequence[Question], seed: int = 0) -> list[Comparison]:
    """The hand-written good answers against worse ones with phrases that training never used."""
    forms = load_forms("held_out")
    return [
        Comparison(
            question, question.good, _worse(Source(question, questions, forms, "held_out"), HELD_OUT_COUNTS, seed)
        )
        for question in questions
    ]


def _worse(source: Source, counts: dict[str, int], seed: int) -> tuple[tuple[str, str], ...]:
    return tuple((kind, text) for kind in KINDS for text in corruptions(kind, source, counts[kind], seed))


def _variants(question: Question, rng: Random) -> list[str]:
    """The good answers, framed politely, joined to a longer one, and cut after a whole sentence."""
    first, second = question.good
    variants = [first, second, f"{rng.choice(OPENERS)} {rng.choice(question.good)}"]
    variants.append(f"{rng.choice(question.good)} {rng.choice(CLOSERS)}")
    variants.append("\n\n".join(rng.sample(question.good, 2)))
    return variants + [short for answer in question.good if (short := _opening(answer))]


def _opening(answer: str) -> str | None:
    """The first sentences of a longer answer in prose: less complete, but a fair answer."""
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    if "\n" in answer or len(sentences) < 3:
        return None
    return " ".join(sentences[:-1])
