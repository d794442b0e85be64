"""Recorded requests and the answers that are expected to them, as the files in `wire/` write them.

`request_is: recorded`, which every pair says, means: the published client that `client` names, at that version or
commit, sent this request to a running Guerdon and understood the answer; every reward that it read was the native
route's. Method, path, body and the headers that bear on the answer are as they came; but token ids are named, below.

`scored` is what the native route is asked, for the rewards in order. In a request, ``"$ids[0]"`` stands for the token
ids of its first conversation. In an answer, ``"$reward[0]"`` stands for its first reward, ``"$sigmoid[0]"`` for the
sigmoid of that, ``"$base64[0]"`` for the bytes of its float32, and ``"$string"``, ``"$int"``, ``"$number"`` for any
such value; ``{"$sorted_by": key, "$of": [...]}`` for a list with the highest `key` first; and where an object holds
``"$more"``, there may be keys in it that the file does not name. Without an `answer`, only the status counts.
"""

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = sorted((Path(__file__).parent / "wire").glob("*.json"))
KINDS = {"$string": str, "$int": int, "$number": float}
TOLERANCE = 1e-5
"""Templated text is scored apart from the messages that it came from, next to other neighbours."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A number as base64 of its float32."""

    value: float

    def is_in(self, got: Any) -> bool:
        """Whether that is what came."""
        return isinstance(got, str) and near(self.value, struct.unpack("<f", base64.b64decode(got))[0])


MADE_OF: dict[str, Callable[[float], Any]] = {
    "reward": lambda reward: reward,
    "sigmoid": lambda reward: 1 / (1 + math.exp(-reward)),
    "base64": Packed,
}
_PLACE = re.compile(r"\$(\w+)\[(\d+)\]")


def read(file: Path) -> dict[str, Any]:
    """One file."""
    return json.loads(file.read_text())


def with_ids(body: Any, ids: Callable[[int], Sequence[int]]) -> Any:
    """A request's body, its token ids filled in."""
    match body:
        case str(text) if place := re.fullmatch(r"\$ids\[(\d+)\]", text):
            return list(ids(int(place[1])))
        case list(items):
            return [with_ids(item, ids) for item in items]
        case dict(fields):
            return {key: with_ids(value, ids) for key, value in fields.items()}
    return body


def filled(answer: Any, rewards: Sequence[float]) -> Any:
    """An expected answer, its rewards filled in."""
    match answer:
        case str(text) if place := _PLACE.fullmatch(text):
            return MADE_OF[place[1]](rewards[int(place[2])])
        case str(text):
            return _PLACE.sub(lambda place: repr(rewards[int(place[2])]), text)
        case list(items):
            return [filled(item, rewards) for item in items]
        case {"$sorted_by": key, "$of": items}:
            return sorted(filled(items, rewards), key=lambda item: -item[key])
        case dict(fields):
            return {key: filled(value, rewards) for key, value in fields.items()}
    return answer


def differences(expected: Any, got: Any, at: str = "answer") -> Iterator[str]:
    """Where an answer is not what is expected."""
    match expected:
        case dict(fields):
            return _in_object(fields, got, at)
        case list(items):
            return _in_list(items, got, at)
    return iter(() if _is(expected, got) else (f"{at}: {got!r} in place of {expected!r}",))


def _in_object(fields: dict[str, Any], got: Any, at: str) -> Iterator[str]:
    if not isinstance(got, dict):
        yield f"{at}: not an object: {got!r}"
        return
    named = fields.keys() - {"$more"}
    yield from (f"{at}.{key}: missing" for key in sorted(named - got.keys()))
    if "$more" not in fields:
        yield from (f"{at}.{key}: not expected" for key in sorted(got.keys() - named))
    for key in sorted(named & got.keys()):
        yield from differences(fields[key], got[key], f"{at}.{key}")


def _in_list(items: Sequence[Any], got: Any, at: str) -> Iterator[str]:
    if not isinstance(got, list) or len(got) != len(items):
        yield f"{at}: not a list of {len(items)}: {got!r}"
        return
    for index, (item, one) in enumerate(zip(items, got, strict=True)):
        yield from differences(item, one, f"{at}[{index}]")


def _is(expected: Any, got: Any) -> bool:
    match expected:
        case str(kind) if kind in KINDS:
            return isinstance(got, KINDS[kind]) and not isinstance(got, bool)
        case float(value):
            return isinstance(got, float) and near(value, got)
        case Packed() as packed:
            return packed.is_in(got)
    return type(expected) is type(got) and bool(expected == got)


def near(value: float, got: float) -> bool:
    """Whether these are one number, but for rounding."""
    return math.isclose(value, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
