"""Reads one step of a judge that uses tools: a call, or its verdict."""

import json
import re
from dataclasses import dataclass
from typing import Any

from guerdon.scorers.judges.json_verdict import shown, without_thoughts
from guerdon.scorers.judges.recipe import Unparsable

FINISHES = ("finish", "finished")
"""The actions that end a judge's work; the first is what it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the model wants to do: use a tool, or (`finish`) give its verdict."""

    thought: str
    action: str
    input: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A score within the range, and why."""

    score: float
    rationale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The scores that there are."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class _Section:
    label: str
    content: str


def spoken(text: str) -> str:
    """What the model said: without its thoughts, and nothing that it wrote as if it were an observation.

    Raises Unparsable where the thoughts do not end.
    """
    said = sendable(without_thoughts(text))
    made_up = _OBSERVATION.search(said)
    return said[: made_up.start()].strip() if made_up else said


def read_step(said: str, scores: Range, *, cut: bool = False) -> Step | Verdict:
    """The step in what a model said: JSON, or lines such as `Action:` and `Score:`.

    The first call is the step; whatever the model wrote after it, it wrote without knowing the tool's answer. ``cut``
    is whether the model was stopped at its limit: what stands last is then not taken for complete. Raises Unparsable.
    """
    try:
        found = _object(said)
        return _lines(said, scores, cut=cut) if found is None else _structured(found, scores)
    except Unparsable as error:
        if cut:
            raise Unparsable(f"the answer was cut at max_tokens: {error}") from error
        raise


def sendable(text: str) -> str:
    """The text as it can be sent on: JSON can spell halves of characters, which no encoding has."""
    return text.encode("utf-8", errors="replace").decode()


# Blanks are counted: what follows a policy's wishes is not to be searched in quadratic time.
_OBSERVATION = re.compile(
    r"^[ \t>*_•-]{0,20}(?:#{1,6} {0,4})?observation\b[ \t]{0,4}\d{0,4}[ \t*_]{0,8}[:：]",  # noqa: RUF001
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(
    r"[ \t>*_•-]{0,20}(?:#{2,6} {0,4})?"
    r"(?P<label>T(?i:hought)|A(?i:ction[ \t]{0,4}\d{0,4}[ \t]{0,4}input)|A(?i:ction)"
    r"|(?:F(?i:inal)[ \t]{1,4})?S(?i:core)|R(?i:ationale))"
    r"[ \t]{0,4}\d{0,4}[ \t*_]{0,8}[:：][ \t]{0,20}(?:\*\*|__)?(?P<rest>.*)"  # noqa: RUF001
)
_FENCED = re.compile(r"```(?:[\w+-]*[ \t]*\n)?(.*?)(?:\n?```|\Z)", re.DOTALL)
_NUMBER = re.compile(r"[*_`\[( ]*([+-]?\d+(?:\.\d+)?)[ ]*(?:(?:/|out of)[ ]*(\d+(?:\.\d+)?))?[*_`\]) ]*[.。]?[*_ ]*")


def _object(said: str) -> Any:
    """The JSON object that is the whole answer; None where the answer is none. Raises Unparsable."""
    fenced = _FENCED.fullmatch(said)
    text = fenced[1].strip() if fenced else said
    if not text.startswith("{"):
        return None
    try:
        # Engines that hold answers to JSON let control characters into strings, where they harm nobody.
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_number, strict=False)
    except (ValueError, RecursionError) as error:
        raise Unparsable("the answer begins like a JSON object, and is none") from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _structured(found: dict[str, Any], scores: Range) -> Step | Verdict:
    match found:
        case {"thought": str(thought), "action": str(action), "input": str(given)} if len(found) == 3:
            thought, action, given = map(sendable, (thought, action, given))
            return Step(thought=thought.strip(), action=_name(action), input=_bare(given))
        case {"rationale": str(rationale), "score": int() | float() as score} if len(found) == 2:
            if isinstance(score, bool):
                raise Unparsable("the score is no number")
            return Verdict(score=_within(score, str(score), scores), rationale=sendable(rationale).strip())
    raise Unparsable(f"an object with the keys {shown(sendable(', '.join(found)))} is neither a step nor a verdict")


def _lines(said: str, scores: Range, *, cut: bool) -> Step | Verdict:
    before, sections = _sections(said)
    first = next((place for place, section in enumerate(sections) if section.label == "action"), None)
    if first is not None and _name(sections[first].content) not in FINISHES:
        if any(section.label == "score" for section in sections[:first]):
            raise Unparsable("a score stands before a call")
        return _call(before, sections, first, cut=cut)
    if any(section.label == "score" for section in sections):
        return _verdict(before, sections, scores, cut=cut)
    if first is None:
        raise Unparsable("it names neither an action nor a score" if said else "the answer is empty")
    if cut:
        raise Unparsable("there is no score")
    return Step(thought=_thought(before, sections), action=FINISHES[0], input="")


def _sections(said: str) -> tuple[str, list[_Section]]:
    """What stands before the first label, and what stands under each. In a fenced input there are no labels."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for line in said.split("\n"):
        found = None if fenced else _LABEL.match(line)
        if found:
            parts.append((_label(found["label"]), [found["rest"]]))
        else:
            parts[-1][1].append(line)
        if parts[-1][0] == "input" and (found["rest"] if found else line).count("```") % 2:
            fenced = not fenced
    texts = [_Section(label, "\n".join(lines)) for label, lines in parts]
    return texts[0].content.strip(), texts[1:]


def _label(written: str) -> str:
    return "input" if written.lower().endswith("input") else written.lower().split()[-1]


def _call(before: str, sections: list[_Section], place: int, *, cut: bool) -> Step:
    action, following = sections[place], sections[place + 1 : place + 2]
    given = following[0].content if following and following[0].label == "input" else None
    last = place + (1 if given is None else 2)
    if cut and last >= len(sections):
        raise Unparsable("the call is not complete")
    return Step(
        thought=_thought(before, sections[:place]),
        action=_name(action.content),
        input=_bare(action.content.partition("\n")[2] if given is None else given),
    )


def _verdict(before: str, sections: list[_Section], scores: Range, *, cut: bool) -> Verdict:
    contents = [section.content for section in sections if section.label == "score"]
    if cut and sections[-1].label == "score" and "\n" not in sections[-1].content.lstrip():
        raise Unparsable("the score is not complete")
    found = {_score(content, scores) for content in contents}
    if len(found) > 1:
        raise Unparsable(f"it gives {len(found)} different scores")
    rationale = next((section.content.strip() for section in sections if section.label == "rationale"), "")
    return Verdict(score=found.pop(), rationale=rationale or _thought(before, sections))


def _score(content: str, scores: Range) -> float:
    line = content.strip().partition("\n")[0].strip()
    found = _NUMBER.fullmatch(line) if len(line) <= 60 else None
    if not found:
        raise Unparsable(f"{shown(line)} is no score")
    if found[2] is not None and float(found[2]) != scores.high:
        raise Unparsable(f"{shown(line)} is a score on another scale than {scores}")
    return _within(float(found[1]), found[1], scores)


def _within(score: float, written: str, scores: Range) -> float:
    if not scores.low <= score <= scores.high:
        raise Unparsable(f"the score {shown(written)} is outside of {scores}")
    return float(score)


def _thought(before: str, sections: list[_Section]) -> str:
    thoughts = [section.content.strip() for section in sections if section.label == "thought"]
    return "\n".join(filter(None, [before, *thoughts]))


def _name(written: str) -> str:
    """A tool's name as models write it: with quotes, brackets or capitals."""
    return written.strip().partition("\n")[0].strip(" \t`*_'\"[]().").lower()


def _bare(given: str) -> str:
    """An input without the backticks or the fence around it."""
    given = given.strip()
    if fenced := _FENCED.match(given):
        return fenced[1]
    return given[1:-1].strip() if len(given) > 2 and given[0] == given[-1] == "`" else given
