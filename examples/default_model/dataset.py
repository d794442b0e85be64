"""The questions, their split into training and held-out prompts, and the answers that are compared."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

QUESTIONS_FILE = Path(__file__).with_name("questions.jsonl")
HELD_OUT_PER_TOPIC = 3
SPLIT_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt with two good answers and the worse ones that were written by hand."""

    id: str
    topic: str
    prompt: str
    good: tuple[str, ...]
    wrong_fact: str
    keyword_filler: str | None = None
    rude: str | None = None


def load_questions(path: Path = QUESTIONS_FILE) -> list[Question]:
    """All questions, in the order of the file."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Question(**row | {"good": tuple(row["good"])}) for row in rows]


def split(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Training and held-out questions: the same number of every topic is held out, always the same ones."""
    by_topic: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        by_topic[question.topic].append(question.id)
    held_out = {
        chosen
        for topic, ids in sorted(by_topic.items())
        for chosen in Random(f"{SPLIT_SEED}/{topic}").sample(sorted(ids), HELD_OUT_PER_TOPIC)
    }
    training = [question for question in questions if question.id not in held_out]
    return training, [question for question in questions if question.id in held_out]
