"""Splits text that a chat template has written back into its turns. No I/O."""

import re
from typing import NamedTuple, get_args

from guerdon.domain.samples import Message, Turns, assistant, user
from guerdon.transport.schemas import Role

UNKNOWN, INSTRUCTIONS = "unknown", "llama-2"
_START = re.compile(
    r"(?:\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<\|endoftext\|>|<pad>|<\|finetune_right_pad_id\|>))+"
)
_ENDS = (
    "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>",
    "<pad>", "<|finetune_right_pad_id|>",
)  # fmt: skip


class Split(NamedTuple):
    """A conversation and the response that ends it, and the name of the template that was recognised."""

    template: str
    messages: Turns
    response: Turns


class _Marked(NamedTuple):
    """A template whose every turn begins with its role: the mark before and after the role, and after the turn."""

    name: str
    before: str
    after: str
    end: str


_TEMPLATES = (
    _Marked("chatml", "<|im_start|>", "\n", "<|im_end|>"),
    _Marked("llama-3", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
    _Marked("gemma", "<start_of_turn>", "\n", "<end_of_turn>"),
)
_MAX_ROLE = 32
_ROLES = {role: role for role in get_args(Role)} | {"model": "assistant", "ipython": "tool"}
_SYSTEM = re.compile(r"\s*<<SYS>>\n?(.*?)\n?<</SYS>>\s*|\[SYSTEM_PROMPT\](.*?)\[/SYSTEM_PROMPT\]", re.DOTALL)


def split(text: str, prompt: str | None = None) -> Split:
    """The turns of ``text``: the last is the response.

    Where the ``prompt`` that it begins with is known, all that follows is the response, whatever it spells. Text in no
    known template is a response to that prompt, or else to an empty one.
    """
    if prompt and text.startswith(prompt):
        template, turns = _parted(prompt)
        if turns:
            return _answered(template, turns, text[len(prompt) :], open_ended=not prompt.rstrip().endswith(_ENDS))
    template, turns = _parted(text)
    if turns:
        return Split(template, turns[:-1] or user(""), turns[-1:])
    if prompt and text.startswith(prompt):
        return Split("prompts", user(bare(prompt)), assistant(bare(text[len(prompt) :])))
    return Split(UNKNOWN, user(""), assistant(bare(text)))


def _answered(template: str, turns: Turns, rest: str, *, open_ended: bool) -> Split:
    """The turns of a prompt with what follows: the rest of its last turn where that is still open."""
    begun = turns[-1].content if open_ended else ""
    response = begun + bare(rest)
    messages = turns[:-1] if open_ended else turns
    return Split(template, messages or user(""), assistant(response.strip() if template == INSTRUCTIONS else response))


def _parted(text: str) -> tuple[str, Turns]:
    """The template that the text is written in, and its turns, which end with the assistant's; none if in none."""
    for template in _TEMPLATES:
        turns = _turns(template, text)
        if turns and turns[-1].role == "assistant":
            return template.name, turns
    turns = _instructions(text)
    return (INSTRUCTIONS, turns) if turns else (UNKNOWN, ())


def _turns(template: _Marked, text: str) -> Turns:
    """Of a text that consists of such turns and nothing else; none otherwise."""
    at = start.end() if (start := _START.match(text)) else 0
    begins, ends = _Places(text, template.before), _Places(text, template.end)
    found = []
    while (role := _role(template, text, at)) is not None:
        begin = at + len(template.before) + len(role) + len(template.after)
        end, following = ends.since(begin), begins.since(begin)
        while following < end and _role(template, text, following) is None:
            following = begins.since(following + 1)
        at = min(end, following)
        found.append(Message(_ROLES[role], bare(text[begin:at])))
        if at == end < len(text):
            at = _past_blanks(text, end + len(template.end))
    return () if bare(text[at:]).strip() else tuple(found)


def _role(template: _Marked, text: str, at: int) -> str | None:
    """The role of the turn that begins here; None where none begins."""
    if not text.startswith(template.before, at):
        return None
    begin = at + len(template.before)
    role, closed, _ = text[begin : begin + _MAX_ROLE + len(template.after)].partition(template.after)
    return role if closed and role in _ROLES else None


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


class _Places:
    """Where a mark stands in a text; asked for in rising order, it searches each part once."""

    def __init__(self, text: str, mark: str) -> None:
        self._text, self._mark, self._next = text, mark, -1

    def since(self, at: int) -> int:
        """The first place from ``at`` on; the text's length where there is none."""
        if self._next < at:
            place = self._text.find(self._mark, at)
            self._next = len(self._text) if place < 0 else place
        return self._next


def _instructions(text: str) -> Turns:
    """The turns of Llama-2's and Mistral's instructions; none where something else is among them."""
    text = _without_start(text)
    turns: list[Message] = []
    if system := _SYSTEM.match(text):
        turns.append(Message("system", system[2] or ""))
        text = text[system.end() :]
    before, *instructions = text.split("[INST]")
    if before.strip() or not instructions:
        return ()
    for instruction in instructions:
        asked, closed, said = instruction.partition("[/INST]")
        if not closed:
            return ()
        if system := _SYSTEM.match(asked):
            turns.append(Message("system", system[1] or system[2] or ""))
            asked = asked[system.end() :]
        turns += (Message("user", asked.strip()), Message("assistant", bare(said.removesuffix("<s>")).strip()))
    return tuple(turns)


def _without_start(text: str) -> str:
    return text[start.end() :] if (start := _START.match(text)) else text


def bare(text: str) -> str:
    """Without the tokens that begin and end sequences."""
    text = _without_start(text)
    end = len(text)
    while True:
        last = end
        while last and text[last - 1].isspace():
            last -= 1
        found = next((token for token in _ENDS if text.endswith(token, 0, last)), None)
        if found is None:
            return text[:end]
        end = last - len(found)
