"""Callers' text, made harmless for the prompts that it is put into."""

import re

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

_BAR = r"[|\uff5c]"  # DeepSeek's tokens have a wide one
_NAME = r"[\w▁.:/-](?:[\w▁.:/ -]{0,62}[\w▁.:/-])?"

_RESERVED = re.compile(
    # Control tokens of chat templates. Some families write the bar on one side only.
    rf"<(?={_BAR}{_NAME}{_BAR}?>|/?[\w▁]{{1,64}}{_BAR}>)"
    rf"|<(?=/?(?:{_CONTROL_NAMES})>)|<(?=</?SYS>>)"
    r"|<(?=/?(?i:think|thinking)[ \t]*>)"
    rf"|\[(?=/?(?:{_BRACKETED_NAMES})\])"
    r"|◁(?=/?think▷)|\](?=~!?b[\[\]])|\[(?=e~\[)"
    # What the prompts of judges are divided by.
    rf"|\[(?=[ \t]*(?i:the[ \t]+(?:begin|beginning|start|end)[ \t]+of[ \t]+(?:the[ \t]+)?(?:{_PARTS})))"
    rf"|\#(?<=\#\#\#)(?=[ \t]*(?i:{_ROLES}|{_TITLES})[ \t]*\#\#\#)"
    rf"|\#(?<=\#\#\#)(?=[ \t]*(?i:{_ROLES}|instruction|input|response)[ \t]*:)"
    rf"|=(?<====)(?=[ \t]*(?i:{_ROLES}|{_TITLES})[ \t]*===)"
    r"|\*(?=\*(?i:question|solution process \(final step only\)|reference answer|output):\*\*)"
)
_LOOK_ALIKE = {"<": "‹", "[": "⟦", "]": "⟧", "◁": "◃", "#": "♯", "=": "≡", "*": "∗"}  # noqa: RUF001


def fenced(text: str) -> str:
    """The text without anything that a chat template or a judge's prompt gives a meaning to.

    One character of a reserved marker becomes another that looks alike, so that a reader still sees what was written;
    everything else stays as it is. Doing it twice changes nothing more.
    """
    return _RESERVED.sub(lambda found: _LOOK_ALIKE[found[0]], text)
