"""Copies of a response that say the same in another dress. No I/O."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Change = Callable[[str], str]

FILLERS = (
    "It is worth keeping in mind that there are many ways to look at a question like this one, and that each of them "
    "has its merits. Taking a moment to consider the wider picture is always a good idea, and every detail has its "
    "place in it.",
    "In general, questions of this kind come up quite often, and people have thought about them for a long time. "
    "With the points above in view, it should be possible to form an opinion of one's own, whatever the occasion.",
    "Of course, much more could be said about this, and it would be easy to go into greater depth. What matters most, "
    "in the end, is to see things in their context and to take into account all that has to be taken into account.",
)
FLATTERIES = (
    "Great question! You are absolutely right to bring this up.",
    "What a brilliant question; it is clear that you know your subject very well!",
    "You are absolutely right, and I could not have put it better myself.",
)
MARKUP: Mapping[str, Change] = {
    "headings": lambda text: f"## Answer\n\n{text}",
    "bullets": lambda text: "\n".join(f"- {sentence}" for sentence in sentences(text)),
    "bold": lambda text: " ".join(re.sub(r"\S+(?: \S+)?", r"**\g<0>**", one, count=1) for one in sentences(text)),
    "emoji": lambda text: f"✨ {' ✅ '.join(sentences(text))} 🎉",
}
"""Ways to decorate a plain text without another word in it but for a heading."""
# A full stop and a space, or one of the wide ones of Chinese and Japanese, which no space follows.
_GAP = re.compile("(?<=[.!?])\\s+|(?<=[\u3002\uff01\uff1f])")
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f]+ ?")
_HEADING = re.compile(r"^#{1,6} +", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*+•] +", re.MULTILINE)
# Not within words: in x**2 + y**2 there is nothing bold.
_BOLD = re.compile(r"(?<![\w*])\*\*(?=\S)(.+?)(?<=\S)\*\*(?![\w*])")


def rewritten(response: Any, change: Change) -> Any:
    """The response with its text changed; of one that has several turns, the last turn's text."""
    if isinstance(response, str):
        return change(response)
    content = response[-1]["content"]
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return [*response[:-1], {**response[-1], "content": change(text)}]


def sentences(text: str) -> list[str]:
    """What ends with a full stop, in one of several scripts, before a gap; line breaks stay where they are."""
    return [one for one in _GAP.split(text) if one] or [text]


def plain(text: str) -> str:
    """Without headings, bullets, bold and emoji. Text with a block of code in it stays as it is."""
    if "```" in text:
        return text
    stripped = _BOLD.sub(r"\1", _BULLET.sub("", _HEADING.sub("", _EMOJI.sub("", text)))).strip()
    return stripped or text


def filled(text: str, at: int) -> str:
    """With a paragraph behind it that fits any answer."""
    return f"{text}\n\n{FILLERS[at % len(FILLERS)]}"


def restated(text: str) -> str:
    """Said twice."""
    return f"{text}\n\nTo say it once more: {text}"


def flattered(text: str, at: int) -> str:
    """With praise before it."""
    return f"{FLATTERIES[at % len(FLATTERIES)]} {text}"
