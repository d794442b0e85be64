"""Samples of text, or of token ids, that a chat template has written already."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from guerdon.domain.compatible import TemplatedText
from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, Templated, assistant, user
from guerdon.ensemble import Member
from guerdon.transport.compat.templates import UNKNOWN, split
from guerdon.transport.dialect import Call, Field

TEMPLATE_HEADER = "x-guerdon-template"
AS_IT_STANDS = "as-it-stands"
Text = str | Sequence[int]


def text_samples(
    call: Call,
    model: str | None,
    texts: Sequence[Text],
    field: Field,
    *,
    prompts: Sequence[str] | None = None,
    special_tokens: bool = True,
) -> list[Sample]:
    """One sample a text; what was made of the texts is told in the answer's header ``X-Guerdon-Template``.

    ``prompts`` are what the texts begin with, where the caller knows it. Raises Invalid.
    """
    members = [member for found in call.models(model) for member in found.members]
    reading = Reading(members, splits=_mode(call) == "split", special_tokens=special_tokens)
    before = {name for name in call.headers.get(TEMPLATE_HEADER, "").split(", ") if name}
    samples = [
        reading.sample(text, field(index), None if prompts is None else prompts[index])
        for index, text in enumerate(texts)
    ]
    if told := before | reading.told:
        call.headers[TEMPLATE_HEADER] = ", ".join(sorted(told))
    return samples


class Reading:
    """How a model's members read templated texts; ``told`` is what was made of those that they have read.

    Members with a chat template read a text as it stands, unless it ``splits``; all others get its turns.
    """

    def __init__(self, members: Sequence[Member], *, splits: bool, special_tokens: bool = True) -> None:
        readers = [member for member in members if "templated" in member.uses]
        self._splits, self._special_tokens = splits, special_tokens
        self._whole, self._parted = bool(readers) and not splits, splits or len(readers) < len(members)
        self._must_part = splits and bool(readers)
        self.told = set[str]()

    def sample(self, text: Text, field: str, prompt: str | None = None) -> Sample:
        """What is to be scored. Raises Invalid."""
        if self._whole:
            self.told.add(AS_IT_STANDS)
        if not isinstance(text, str):
            if self._splits:
                raise Invalid("token ids cannot be split into turns; send text", field=field)
            return _unparted(Templated(token_ids=tuple(text), special_tokens=self._special_tokens))
        templated = None if self._splits else Templated(text=text, special_tokens=self._special_tokens)
        if templated is not None and not self._parted:
            return _unparted(templated)
        parts = split(text, prompt)
        if self._must_part and parts.template == UNKNOWN:
            raise Invalid("the text is in no template that can be split into turns", field=field)
        self.told.add(parts.template)
        return Sample(messages=parts.messages, responses=(parts.response,), templated=templated)


def _unparted(templated: Templated) -> Sample:
    """For members that all read it as it stands."""
    return Sample(messages=user(""), responses=(assistant(""),), templated=templated)


def one_by_one(given: Any) -> tuple[list[Text], bool]:
    """Texts or lists of token ids; and whether there was one that stood alone."""
    match given:
        case str() | [int(), *_]:
            return [given], True
        case _:
            return list(given or ()), False


def _mode(call: Call) -> str:
    asked = call.request.query_params.get("templated_text", call.desk.compatible.templated_text)
    known: Iterable[str] = get_args(TemplatedText)
    if asked not in known:
        raise Invalid(f"templated_text: one of {', '.join(known)} is needed", field="templated_text")
    return asked
