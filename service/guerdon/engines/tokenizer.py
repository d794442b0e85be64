"""Turns a conversation and a response into the tokens that a model was trained to read."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer

from guerdon.domain.errors import Invalid, NotServable, ResponseTooLong
from guerdon.domain.samples import Message, Templated, Turns, plain_text
from guerdon.engines.chat_template import ChatTemplate

Template = Literal["chat", "pair", "plain"]
Truncation = Literal["error", "left"]
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a model reads: token ids, segment ids where the model has them, and whether the start was cut off."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...] = ()
    truncated: bool = False


class ModelTokenizer:
    """One checkpoint's tokenizer. Text of callers never becomes a control token.

    ``template`` is ``chat`` (the checkpoint's own chat template), ``pair`` (prompt and response as the
    two segments of an encoder) or ``plain`` (prompt and response in one piece); None takes ``chat`` where
    the checkpoint has a chat template, else ``pair`` where its tokenizer knows pairs, else ``plain``.
    ``max_tokens`` counts special tokens too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_tokens: int | None,
        template: Template | None = None,
        chat_template: str | None = None,
        truncation: Truncation = "error",
        append_eos: bool = False,
    ) -> None:
        described = _json(folder / "tokenizer_config.json")
        self._named = _named_tokens(folder, described)
        self._marked = _load(folder, self._named, described)
        self._text = _blind(self._marked)
        source = chat_template or _chat_template(folder, described)
        self.template: Template = template or _best_template(source, self._named)
        if self.template == "chat" and source is None:
            raise NotServable(f"{folder.name}: `template: chat`, but the checkpoint has no chat template")
        self._chat = ChatTemplate(source or "", self._named)
        self.max_tokens = _smallest(max_tokens, described.get("model_max_length"))
        self._truncation = truncation
        self._eos = self._closing(folder) if append_eos else None
        self._bos = self._marked.token_to_id(self._named.get("bos_token", ""))
        self._adds_bos = self._bos is not None and self._marked.encode("").ids[:1] == [self._bos]
        self._control = _control_tokens(self._marked)

    def conversation(self, messages: Turns, response: Turns) -> Tokens:
        """The response in its conversation. Raises ResponseTooLong, or Invalid where the template refuses."""
        match self.template:
            case "chat":
                return self._fit(self._one_bos(self._templated((*messages, *response))))
            case "pair":
                return self._pair(plain_text(messages), plain_text(response))
            case "plain":
                return self._fit(self._text.encode(plain_text(messages) + plain_text(response)).ids)

    def templated(self, given: Templated) -> Tokens:
        """A conversation that a chat template has written already. Raises Invalid, or ResponseTooLong.

        The model's own template and no special tokens but its own: the same tokens as `conversation` gives.
        """
        if given.token_ids is not None:
            known = self._marked.get_vocab_size()
            if strangers := [token for token in given.token_ids if not 0 <= token < known]:
                raise Invalid(f"{strangers[0]} is not among the model's {known} token ids")
            return self._fit(given.token_ids)
        ids = list(self._marked.encode(given.text, add_special_tokens=False).ids)
        return self._fit(self._one_bos(ids) if given.special_tokens else ids)

    def text(self, text: str) -> Tokens:
        """One text by itself, with the special tokens that the model wants around it.

        Where it wants none, a blank text is read as a single end (or padding) token.
        """
        ids = self._text.encode(text).ids
        if not ids:
            blank = (self._marked.token_to_id(self._named.get(name, "")) for name in ("eos_token", "pad_token"))
            ids = [token for token in blank if token is not None][:1]
        return self._fit(ids)

    def token(self, text: str) -> int:
        """The id of a control token. Raises NotServable where there is none of this spelling."""
        found = self._marked.token_to_id(text) if self._control and self._control.fullmatch(text) else None
        if found is None:
            raise NotServable(f"the tokenizer has no control token {text}")
        return found

    def stepwise(self, messages: Turns, steps: Sequence[str], mark: int) -> Tokens:
        """The steps of a response in its conversation, the token ``mark`` behind each, and nowhere else.

        Raises ResponseTooLong, or Invalid where the template refuses.
        """
        (place,) = _unused_marks(1, (*messages, *(Message("assistant", step) for step in steps)))
        response = Message("assistant", "".join(step + place for step in steps))
        return self._fit(self._one_bos(self._templated_apart((*messages, response), {place: mark})))

    def _closing(self, folder: Path) -> int:
        eos = self._marked.token_to_id(self._named.get("eos_token", ""))
        if eos is None or self.template == "pair":
            raise NotServable(f"{folder.name}: `append_eos` needs a tokenizer with an eos token, and no pairs")
        return eos

    def _templated(self, turns: Turns) -> list[int]:
        if self._control is None or not any(self._control.search(turn.content) for turn in turns):
            return list(self._marked.encode(self._chat.render(turns), add_special_tokens=False).ids)
        return self._templated_apart(turns)

    def _templated_apart(self, turns: Turns, kept: Mapping[str, int] = MappingProxyType({})) -> list[int]:
        """Like `_templated` for text that spells control tokens: the template's own are told from the caller's.

        ``kept`` are texts that stand for a token.

        The caller's are put aside before rendering, behind marks that no caller wrote; the text between the
        template's control tokens is then read by the tokenizer that sees no control tokens.
        """
        assert self._control is not None
        written = sorted({found for turn in turns for found in self._control.findall(turn.content)})
        marks = dict(zip(written, _unused_marks(len(written), turns), strict=True))
        hidden = tuple(
            Message(turn.role, self._control.sub(lambda m: marks[m.group()], turn.content)) for turn in turns
        )
        ids: list[int] = []
        dividers = "|".join([self._control.pattern, *map(re.escape, kept)])
        for piece in re.split(f"({dividers})", self._chat.render(hidden)):
            control = kept.get(piece)
            if control is None and self._control.fullmatch(piece):
                control = self._marked.token_to_id(piece)
            if control is not None:
                ids.append(control)
            elif piece:
                ids += self._text.encode(_restored(piece, marks), add_special_tokens=False).ids
        return ids

    def _one_bos(self, ids: list[int]) -> list[int]:
        if self._bos is None:
            return ids
        start = 0
        while ids[start : start + 1] == [self._bos]:
            start += 1
        return [self._bos, *ids[start:]] if start or self._adds_bos else ids

    def _fit(self, ids: Sequence[int]) -> Tokens:
        ids = [*ids, self._eos] if self._eos is not None and list(ids[-1:]) != [self._eos] else list(ids)
        if not ids:
            raise Invalid("there is nothing to read: the text has no token at all")
        if self.max_tokens is None or len(ids) <= self.max_tokens:
            return Tokens(tuple(ids))
        self._refuse_unless_truncating(len(ids))
        # [BOS] and [CLS] stay, and of the rest the newest tokens: the response is what is judged.
        start = ids[:1] if self._keeps_first(ids) else []
        return Tokens((*start, *ids[-(self.max_tokens - len(start)) :]), truncated=True)

    def _keeps_first(self, ids: Sequence[int]) -> bool:
        return ids[0] == self._bos or ids[0] == self._marked.token_to_id(self._named.get("cls_token", ""))

    def _pair(self, prompt: str, response: str) -> Tokens:
        first = self._text.encode(prompt, add_special_tokens=False)
        second = self._text.encode(response, add_special_tokens=False)
        over = len(first.ids) + len(second.ids) + self._marked.num_special_tokens_to_add(is_pair=True)
        over -= self.max_tokens if self.max_tokens is not None else over
        if over > 0:
            self._refuse_unless_truncating(over + (self.max_tokens or 0))
            kept = max(len(first.ids) - over, 0)
            over -= len(first.ids) - kept
            first.truncate(kept, direction="left")
            second.truncate(len(second.ids) - over, direction="left")
            joined = self._text.post_process(first, second)
            return Tokens(tuple(joined.ids), tuple(joined.type_ids), truncated=True)
        joined = self._text.post_process(first, second)
        return Tokens(tuple(joined.ids), tuple(joined.type_ids))

    def _refuse_unless_truncating(self, tokens: int) -> None:
        if self._truncation == "error":
            raise ResponseTooLong(
                f"{tokens} tokens, but the model reads at most {self.max_tokens}; "
                "shorten it, or serve the model with `truncation: left`"
            )


def _load(folder: Path, named: dict[str, str], described: dict[str, Any]) -> Tokenizer:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise NotServable(f"{folder.name}: no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise NotServable(f"{folder.name}: tokenizer.json cannot be read: {error}") from error
    # Some files carry a maximum length and padding of their own; both are the caller's business here.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    missing = [token for token in named.values() if tokenizer.token_to_id(token) is None]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
    return tokenizer


def _blind(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, but blind to control tokens: it reads what callers wrote as mere text.

    A unigram model would still find a control token that is among its own pieces, so there it gets a name
    that no text has; ids stay as they are.
    """
    described = json.loads(tokenizer.to_str())
    if described["model"]["type"] == "Unigram":
        pieces = described["model"]["vocab"]
        hidden = {token["content"] for token in described["added_tokens"] if token["special"]}
        hidden &= {piece for piece, _ in pieces}
        described["model"]["vocab"] = [
            [f"\ue000{piece}\ue001" if piece in hidden else piece, score] for piece, score in pieces
        ]
        described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] not in hidden]
    blind = Tokenizer.from_str(json.dumps(described))
    blind.encode_special_tokens = True
    return blind


def _control_tokens(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    special = sorted(
        (token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special),
        key=len,
        reverse=True,
    )
    return re.compile("|".join(re.escape(token) for token in special)) if special else None


def _restored(piece: str, marks: Mapping[str, str]) -> str:
    for token, mark in marks.items():
        piece = piece.replace(mark, token)
    return piece


def _unused_marks(count: int, turns: Iterable[Message]) -> list[str]:
    """Strings that occur in none of the turns."""
    text = "".join(turn.content for turn in turns)
    mark = "\ue000"
    while mark in text:
        mark += "\ue000"
    return [f"{mark}{index}\ue001" for index in range(count)]


def _best_template(source: str | None, named: Mapping[str, str]) -> Template:
    if source is not None:
        return "chat"
    # Decoders' tokenizers can join pairs too, by a second BOS; only encoders were trained on them.
    return "pair" if {"cls_token", "sep_token"} & named.keys() else "plain"


def _chat_template(folder: Path, described: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = described.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found if isinstance(found, str) else None


def _named_tokens(folder: Path, described: dict[str, Any]) -> dict[str, str]:
    found = {**_json(folder / "special_tokens_map.json"), **described}
    named = {name: found[name] for name in NAMED_TOKENS if found.get(name)}
    return {name: token["content"] if isinstance(token, dict) else str(token) for name, token in named.items()}


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotServable(f"{file.parent.name}/{file.name}: not readable as JSON") from error
    return read if isinstance(read, dict) else {}


def _smallest(*limits: Any) -> int | None:
    # Tokenizers that know no maximum say 1e30.
    known = [int(limit) for limit in limits if limit is not None and limit < 1e9]
    return min(known, default=None)
