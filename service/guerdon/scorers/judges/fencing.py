"""Callers' text, made harmless for the prompts that it is put into."""

import re
import string
import unicodedata
from collections.abc import Collection

_CONTROL_NAMES = (
    "s|bos|eos|pad|unk|sop|eop|eod|eoh|eoa|think|thinking|tool_call|tool_response|BOS_TOKEN|EOS_TOKEN"
    r"|(?:start|end)_of_(?:turn|image|utterance)|start_(?:tool|observation|work)|fim_(?:prefix|middle|suffix|pad)"
    r"|file_sep|extra_id_\d+|unused_?\d+|reserved_\d+|SPECIAL_\d+|seed:[a-z_:]+"
)
_BRACKETED_NAMES = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|THINK|MODEL_SETTINGS|BOS|EOS|gMASK"
    r"|UNUSED_TOKEN_\d+|\|[\w ]{1,64}\|"
)
_ROLES = "system|user|assistant|developer|tool|human"
_TITLES = (
    "conversation(?: context)?|responses?(?: to be scored)?|(?:general |specific )?(?:evaluation )?criteria"
    "|output(?: format)?(?: requirements)?|reference(?: answer)?|principle|verdict|scores?|reply"
)
_PARTS = (
    "response|conversation|reference|principle|answer|assistant|question|reasoning|user|context|solution|critique"
    "|observation|output|candidate"
)

_BAR = r"\|"  # also the wide one of DeepSeek's tokens: it is read as this
_GAP = r"[ \t\n]+"
_NAME = r"[\w▁.:/-](?:[\w▁.:/ -]{0,62}[\w▁.:/-])?"

_RESERVED = re.compile(
    # Control tokens of chat templates. Some families write the bar on one side only.
    rf"<(?={_BAR}{_NAME}{_BAR}?>|/?[\w▁]{{1,64}}{_BAR}>)"
    rf"|<(?=/?(?:{_CONTROL_NAMES})>)|<(?=</?SYS>>)"
    r"|<(?=/?(?i:think|thinking)[ \t]*>)"
    rf"|\[(?=/?(?:{_BRACKETED_NAMES})\])"
    r"|◁(?=/?think▷)|\](?=~!?b[\[\]])|\[(?=e~\[)"
    # What the prompts of judges are divided by.
    rf"|\[(?=[ \t\n]*(?i:the{_GAP}(?:begin|beginning|start|end){_GAP}of{_GAP}(?:the{_GAP})?(?:{_PARTS})))"
    rf"|\#(?<=\#\#\#)(?=[ \t]*(?i:{_ROLES}|{_TITLES})[ \t]*\#\#\#)"
    rf"|\#(?<=\#\#\#)(?=[ \t]*(?i:{_ROLES}|instruction|input|response)[ \t]*:)"
    rf"|=(?<====)(?=[ \t]*(?i:{_ROLES}|{_TITLES})[ \t]*===)"
    r"|\*(?=\*(?i:question|solution process \(final step only\)|reference answer|output):\*\*)"
)
_LOOK_ALIKE = {"<": "‹", "[": "⟦", "]": "⟧", "◁": "◃", "#": "♯", "=": "≡", "*": "∗", ":": "∶"}  # noqa: RUF001
_ORDINARY = frozenset(string.printable) - set("\r\v\f")
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u3164\uffa0") | set(
    map(chr, range(0xFE00, 0xFE10))
)
_BREAKS = frozenset("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


def fenced(text: str) -> str:
    """The text without anything that a chat template or a judge's prompt gives a meaning to.

    One character of a reserved marker becomes another that looks alike, so that a reader still sees what was written;
    everything else stays as it is. A marker counts also where wide letters spell it, odd spaces, or what nobody sees
    lies within. Doing it twice changes nothing more.
    """
    return _changed(text, _RESERVED)


def fenced_turn(text: str, roles: Collection[str]) -> str:
    """The text of one turn among several, without lines that begin as another turn does: with a role and a colon."""
    names = "|".join(map(re.escape, {"system", "user", "assistant", *roles}))
    return _changed(text, re.compile(rf"^[ \t]*(?i:{names})[ \t]*(:)", re.MULTILINE))


def _changed(text: str, pattern: re.Pattern[str]) -> str:
    """Look-alikes for what is found: the group where there is one, or all of it; one character each."""
    group = pattern.groups
    readings = {letter: _read_as(letter) for letter in set(text) - _ORDINARY}
    read = text.translate({ord(letter): plain for letter, plain in readings.items()})
    places = [found.start(group) for found in pattern.finditer(read)]
    if not places:
        return text
    seen = [place for place, letter in enumerate(text) if readings.get(letter, letter)]
    made = list(text)
    for place in places:
        made[seen[place]] = _LOOK_ALIKE[read[place]]
    return "".join(made)


def _read_as(letter: str) -> str:
    """What a letter is to a reader, or to a tokenizer that normalises: one letter, or none."""
    if letter in _BREAKS:
        return "\n"
    if letter.isspace():
        return " "
    if letter in _UNSEEN or unicodedata.category(letter) in ("Cf", "Cc"):
        return ""
    plain = unicodedata.normalize("NFKC", letter)
    return plain if len(plain) == 1 else letter
