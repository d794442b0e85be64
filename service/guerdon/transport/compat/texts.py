"""Samples of text, or of token ids, that a chat template has written already."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from guerdon.domain.compatible import TemplatedText
from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, Templated, assistant, user
from guerdon.transport.compat.templates import UNKNOWN, Split, split
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

    Scorers with a chat template read the text as it stands, unless it is to be split; all others get its turns.
    ``prompts`` are what the texts begin with, where the caller knows it. Raises Invalid.
    """
    members = [member for found in call.models(model) for member in found.members]
    readers = [member for member in members if "templated" in member.uses]
    splitting = _mode(call) == "split"
    samples, told = [], {AS_IT_STANDS} if readers and not splitting else set()
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            if splitting:
                raise Invalid("token ids cannot be split into turns; send text", field=field(index))
            samples.append(_of_ids(text, special_tokens))
            continue
        parts = split(text, prompts[index] if prompts is not None else None)
        if splitting and readers and parts.template == UNKNOWN:
            raise Invalid("the text is in no template that can be split into turns", field=field(index))
        samples.append(_of_text(text, parts, special_tokens, splitting))
        if splitting or len(readers) < len(members):
            told.add(parts.template)
    told.update(call.headers.get(TEMPLATE_HEADER, "").split(", "))
    if told - {""}:
        call.headers[TEMPLATE_HEADER] = ", ".join(sorted(told - {""}))
    return samples


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


def _of_text(text: str, parts: Split, special_tokens: bool, splitting: bool) -> Sample:
    templated = None if splitting else Templated(text=text, special_tokens=special_tokens)
    return Sample(messages=parts.messages, responses=(parts.response,), templated=templated)


def _of_ids(ids: Sequence[int], special_tokens: bool) -> Sample:
    templated = Templated(token_ids=tuple(ids), special_tokens=special_tokens)
    return Sample(messages=user(""), responses=(assistant(""),), templated=templated)
