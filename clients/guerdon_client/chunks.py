"""Many inputs as several requests that the service takes, and their answers as one."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from guerdon_client.errors import GuerdonError
from guerdon_client.requests import Json, encoded
from guerdon_client.results import ModelCard

POINT_WISE = frozenset({"reward_model", "head_ensemble", "relevance"})
"""Kinds of scorers that look at one response at a time."""
SET_WISE = frozenset({"borda", "rank_mean", "pareto", "pareto_rank"})
"""Aggregations that look at all responses of an input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one request holds at most. A single piece that is larger goes alone, for the service to judge."""

    inputs: int = 256
    responses: int = 1024
    total_responses: int = 4096
    bytes: int = 4 << 20

    def under(self, card: ModelCard) -> "Bounds":
        """No more than the service says that it takes."""
        return replace(
            self,
            inputs=min(self.inputs, card.max_inputs or self.inputs),
            responses=min(self.responses, card.max_responses or self.responses),
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """One input, or some of its responses: those from ``first`` on."""

    index: int
    first: int
    body: Json


def may_split(cards: Mapping[str, ModelCard], model: str, aggregation: Mapping[str, Any] | None) -> bool:
    """Whether the cards promise that a response's reward is the same whichever others it is sent with."""
    card = cards.get(model)
    if card is None:
        return False
    how = aggregation or card.aggregation or {}
    kinds = {cards[name].kind if name in cards else "unknown" for name in card.members} or {card.kind}
    return kinds <= POINT_WISE and how.get("method") not in SET_WISE


def pieces(inputs: Sequence[Mapping[str, Any]], responses: int | None) -> Iterator[Piece]:
    """The inputs, those with more than so many responses in several pieces (None: never)."""
    for index, given in enumerate(inputs):
        body = dict(given)
        listed = body.get("responses")
        if responses is None or not _several(listed) or len(listed) <= responses:
            yield Piece(index, 0, body)
            continue
        for first in range(0, len(listed), responses):
            yield Piece(index, first, body | {"responses": list(listed[first : first + responses])})


def _several(listed: Any) -> TypeGuard[Sequence[Any]]:
    """Whether it is a list, and not one text, whose letters would be taken for responses."""
    return isinstance(listed, Sequence) and not isinstance(listed, str | bytes)


def chunks(parts: Iterable[Piece], bounds: Bounds) -> Iterator[list[Piece]]:
    """The pieces in order, as many to a request as there is room for."""
    chunk: list[Piece] = []
    held = responses = 0
    for part in parts:
        size, count = _bytes(part.body), len(part.body.get("responses") or ())
        full = len(chunk) >= bounds.inputs or held + size > bounds.bytes
        if chunk and (full or responses + count > bounds.total_responses):
            yield chunk
            chunk, held, responses = [], 0, 0
        chunk.append(part)
        held, responses = held + size, responses + count
    if chunk:
        yield chunk


def _bytes(body: Json) -> int:
    try:
        return len(encoded(body))
    except (TypeError, ValueError):
        return 0  # it will be refused by name when it is sent


def placed(part: Piece, at: int, item: Json) -> Json:
    """An answer's item with every field as the caller knows it; ``at`` is the piece's place in its request."""

    def field(text: str | None) -> str | None:
        return None if text is None else _renamed(text, at, part)

    def problem(told: Json) -> Json:
        return told | {key: field(told[key]) for key in ("field", "message") if told.get(key) is not None}

    known = dict(item)
    if "error" in known:
        return {"index": part.index, "error": problem(known["error"])}
    for key in ("errors", "member_errors"):
        if key in known:
            known[key] = [problem(told) | {"response": told["response"] + part.first} for told in known[key]]
    return known | {"index": part.index}


def blamed(problem: GuerdonError, chunk: Sequence[Piece]) -> GuerdonError:
    """A whole request's error, its field as the caller knows it."""
    found = re.match(r"inputs\[(\d+)\]", problem.field or "")
    if found is None or int(found[1]) >= len(chunk):
        return problem
    at = int(found[1])
    return type(problem)(
        problem.code,
        _renamed(problem.message, at, chunk[at]),
        status=problem.status,
        field=_renamed(problem.field or "", at, chunk[at]),
        retry_after_s=problem.retry_after_s,
    )


def _renamed(text: str, at: int, part: Piece) -> str:
    def moved(found: "re.Match[str]") -> str:
        response = "" if found[1] is None else f".responses[{int(found[1]) + part.first}]"
        return f"inputs[{part.index}]{response}"

    return re.sub(rf"inputs\[{at}\](?:\.responses\[(\d+)\])?", moved, text)


def joined(items: Iterable[Json]) -> list[Json]:
    """One item per input: those of one input, which follow each other, put together; an error stands for all."""
    together: list[list[Json]] = []
    for item in items:
        if together and together[-1][0]["index"] == item["index"]:
            together[-1].append(item)
        else:
            together.append([item])
    return [_one(parts) for parts in together]


def _one(parts: Sequence[Json]) -> Json:
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if "error" in part:
            return part
    counts = [len(part["rewards"]) for part in parts]
    return {
        key: _merged([part.get(key) for part in parts], counts)
        for key in dict.fromkeys(key for part in parts for key in part)
    }


def _merged(values: Sequence[Any], counts: Sequence[int]) -> Any:
    present = [value for value in values if value is not None]
    if isinstance(present[0], list):
        return [one for value in values for one in value or ()]
    if isinstance(present[0], dict):
        names = dict.fromkeys(name for value in present for name in value)
        return {name: _column([(value or {}).get(name) for value in values], counts) for name in names}
    return present[0]


def _column(values: Sequence[list[Any] | None], counts: Sequence[int]) -> list[Any]:
    """Of one member, None where it has nothing to say of a part."""
    return [
        one
        for value, count in zip(values, counts, strict=True)
        for one in (value if value is not None else [None] * count)
    ]


Progress = Callable[[int, int], None]
"""Called with the inputs that are done, and with all there are."""
