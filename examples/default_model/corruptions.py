"""Worse answers to a prompt, made from the data set by kind, deterministically from a seed."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from dataset import Question

Side = Literal["training", "held_out"]
Forms = Mapping[str, Sequence[str]]
"""Phrases by purpose; the two sides of the split share none."""

FORMS_FILE = Path(__file__).with_name("surface_forms.json")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SYLLABLES = """ka lo mi ren tu sha vo ter ni ple dra os qui fen gor ul ist bra wen zet ija ont mur pél
    øst čko ñan szy lüm dha eir phu""".split()  # noqa: SIM905
SYMBOLS = "#$%&*@!?~^+=<>/|{}[]();:_-0123456789"
STOP_WORDS = frozenset(
    """about after also been before between could does doing down during each even explain from give have
    having here into just know like made make many mean more most much need only other over please same short
    should show simple some suggest than that their them then there they this those through very want what
    when where which while will with without would write your yours recommend summarize describe list name
    difference best good""".split()  # noqa: SIM905
)
SWAPS = {
    "i": "you",
    "my": "your",
    "me": "you",
    "i'm": "you're",
    "we": "you",
    "our": "your",
    "am": "are",
    "mine": "yours",
}


@dataclass(frozen=True, slots=True)
class Source:
    """What a corruption is made from: the question, its side of the split, and the side's phrases."""

    question: Question
    pool: Sequence[Question]
    forms: Forms
    side: Side


def load_forms(side: Side) -> Forms:
    """The phrases of one side of the split."""
    by_purpose = json.loads(FORMS_FILE.read_text(encoding="utf-8"))
    return {purpose: sides[side] for purpose, sides in by_purpose.items()}


def corruptions(kind: str, source: Source, count: int, seed: int) -> list[str]:
    """Up to ``count`` different worse answers of one kind, the same ones for the same seed."""
    rng = Random(f"{seed}/{source.side}/{source.question.id}/{kind}")
    made = (MAKERS[kind](source, rng) for _ in range(4 * count))
    return list(dict.fromkeys(made))[:count]


def off_topic(source: Source, rng: Random) -> str:
    """A good answer to a prompt of another topic."""
    others = [other for other in source.pool if other.topic != source.question.topic]
    return rng.choice(rng.choice(others).good)


def related(source: Source, rng: Random) -> str:
    """A good answer to another prompt of the same topic."""
    own = source.question
    others = [other for other in source.pool if other.topic == own.topic and other.id != own.id]
    return rng.choice(rng.choice(others).good)


def gibberish(source: Source, rng: Random) -> str:
    """Letters, mashed keys, invented words, noise or shuffled words; some kinds only held out."""
    kinds = [_letters, _mashed_keys, _invented_words, _noise, _shuffled, _shuffled, _mixed]
    if source.side == "held_out":
        kinds += [_mojibake, _backwards]
    return rng.choice(kinds)(source, rng)


def repetitive(source: Source, rng: Random) -> str:
    """One word, phrase, keyword or sentence again and again, or an answer that falls into a loop."""
    answer = rng.choice(source.question.good)
    sentence = _sentences(answer)[0]
    words = answer.split()
    start = rng.randrange(max(1, len(words) - 3))
    match rng.randrange(5):
        case 0:
            return " ".join([rng.choice(source.forms["words"])] * rng.randint(8, 60))
        case 1:
            return " ".join([rng.choice(_keywords(source, rng))] * rng.randint(8, 40))
        case 2:
            return rng.choice(" \n").join([sentence] * rng.randint(4, 9))
        case 3:
            return " ".join(words[: start + 3] + words[start : start + 3] * rng.randint(6, 20))
    return " ".join([rng.choice(source.forms["filler"])] * rng.randint(4, 10))


def refusal(source: Source, rng: Random) -> str:
    """A refusal without cause, one phrase or two."""
    count = rng.choice((1, 1, 1, 2))
    return _filled(" ".join(rng.sample(source.forms["refusal"], count)), source, rng)


def rude(source: Source, rng: Random) -> str:
    """An insult in place of an answer; the hand-written one where the question has one."""
    if source.question.rude and rng.random() < 0.35:
        return source.question.rude
    count = rng.choice((1, 1, 2))
    return _filled(" ".join(rng.sample(source.forms["rude"], count)), source, rng)


def truncated(source: Source, rng: Random) -> str:
    """A good answer that stops in the middle of a sentence."""
    long_enough = [answer for answer in source.question.good if len(answer.split()) >= 8]
    answer = rng.choice(long_enough or [max(source.question.good, key=len)])
    pieces = re.findall(r"\s*\S+", answer)
    kept = max(1, min(len(pieces) - 2, round(len(pieces) * rng.uniform(0.12, 0.85))))
    cut = "".join(pieces[:kept])
    if rng.random() < 0.3 and len(pieces[kept].strip()) > 3:
        cut += pieces[kept][: len(pieces[kept]) // 2 + 1]
    return cut.rstrip(".!?,;:") + rng.choice(("", "", "", "", " ...", ","))


def empty_filler(source: Source, rng: Random) -> str:
    """Phrases that fit any prompt and say nothing."""
    count = rng.choice((1, 1, 2, 3, 4, 5, 6))
    return " ".join(rng.sample(source.forms["filler"], count))


def keyword_filler(source: Source, rng: Random) -> str:
    """The prompt's words in sentences that say nothing; the hand-written one where there is one."""
    if source.question.keyword_filler and rng.random() < 0.5:
        return source.question.keyword_filler
    text = rng.choice(source.forms["keyword_filler"])
    if rng.random() < 0.3:
        text += " " + rng.choice(source.forms["filler"])
    return _filled(text, source, rng)


def parroted(source: Source, rng: Random) -> str:
    """The prompt given back, as it is or in a frame."""
    prompt = source.question.prompt
    swapped = " ".join(SWAPS.get(word.lower(), word) for word in prompt.split())
    lower = prompt[:1].lower() + prompt[1:].rstrip("?.")
    return rng.choice(source.forms["parroted"]).format(prompt=prompt, lower=lower, swapped=swapped)


def padded(source: Source, rng: Random) -> str:
    """A good answer lost in sentences that have nothing to do with it, or that go on about its subject."""
    phrases = rng.sample(source.forms["padding"], rng.randint(3, 10))
    if rng.random() < 0.5:
        phrases[:2] = [*rng.sample(source.forms["filler"], 2), keyword_filler(source, rng)]
        rng.shuffle(phrases)
    front = rng.randint(0, len(phrases))
    gap = rng.choice((" ", "\n\n"))
    middle = rng.choice(source.question.good)
    parts = (" ".join(phrases[:front]), middle, " ".join(phrases[front:]))
    return gap.join(part for part in parts if part)


def wrong_fact(source: Source, _rng: Random) -> str:
    """The hand-written answer with a plain error."""
    return source.question.wrong_fact


MAKERS: Mapping[str, Callable[[Source, Random], str]] = {
    maker.__name__: maker
    for maker in (
        off_topic,
        related,
        gibberish,
        repetitive,
        refusal,
        rude,
        truncated,
        empty_filler,
        keyword_filler,
        parroted,
        padded,
        wrong_fact,
    )
}
KINDS = tuple(MAKERS)


def _filled(text: str, source: Source, rng: Random) -> str:
    first, second, third = _keywords(source, rng)
    text = text.format(keyword=first, keyword2=second, keyword3=third)
    return text[:1].upper() + text[1:]


def _keywords(source: Source, rng: Random) -> list[str]:
    """Three content words of the prompt in random order, repeated where it has fewer."""
    words = re.findall(r"[\w'-]{3,}", source.question.prompt.lower())
    content = list(dict.fromkeys(word for word in words if len(word) > 3 and word not in STOP_WORDS))
    chosen = content or [source.question.topic]
    rng.shuffle(chosen)
    return (chosen * 3)[:3]


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


def _letters(_source: Source, rng: Random) -> str:
    words = ("".join(rng.choices(LETTERS, k=rng.randint(2, 10))) for _ in range(rng.randint(1, 40)))
    return " ".join(words)


def _mashed_keys(_source: Source, rng: Random) -> str:
    words = ("".join(rng.choices(rng.choice(KEYBOARD), k=rng.randint(3, 14))) for _ in range(rng.randint(1, 20)))
    return rng.choice((" ", "", ";")).join(words)


def _invented_words(_source: Source, rng: Random) -> str:
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(rng.randint(4, 45))]
    return " ".join(words).capitalize() + "."


def _noise(_source: Source, rng: Random) -> str:
    return "".join(rng.choices(SYMBOLS + "   ", k=rng.randint(8, 160))).strip()


def _shuffled(source: Source, rng: Random) -> str:
    """The words of one or two answers in random order."""
    answers = [rng.choice(source.question.good)]
    if rng.random() < 0.5:
        answers.append(rng.choice(rng.choice(source.pool).good))
    words = " ".join(answers).split()
    rng.shuffle(words)
    return " ".join(words)


def _mixed(source: Source, rng: Random) -> str:
    """Words of an answer with letters and noise between them."""
    words = [
        word if rng.random() < 0.5 else "".join(rng.choices(LETTERS + SYMBOLS, k=rng.randint(1, 9)))
        for word in rng.choice(source.question.good).split()
    ]
    return " ".join(words)


def _mojibake(source: Source, rng: Random) -> str:
    """An answer read in the wrong encoding, its letters shifted first."""
    shift = rng.randint(3, 20)
    shifted = "".join(chr(0xC0 + (ord(c) + shift) % 64) if c.isalpha() else c for c in rng.choice(source.question.good))
    return shifted[:200]


def _backwards(source: Source, rng: Random) -> str:
    return rng.choice(source.question.good)[::-1]
