"""Scores as bytes: what a store outside this process is given to keep."""

import hashlib
import hmac
import struct

import orjson

from guerdon.domain.scores import Score

VERSION = 1
MAC_BYTES = 16
MAX_BYTES = 64 << 10
"""An entry that would be larger is not kept."""
_HEAD = struct.Struct("<BHHI")
"""Version, responses, heads, tokens; then a float64 for each head of each response, a byte for each response, and the
report as JSON where there is one."""


class Damaged(Exception):
    """These bytes are not what was stored under this key by this version."""


def packed(key: bytes, score: Score) -> bytes:
    """A score for the key that it was computed for (32 bytes)."""
    rows, heads = len(score.values), len(score.values[0]) if score.values else 0
    numbers = [value for row in score.values for value in row]
    body = (
        _HEAD.pack(VERSION, rows, heads, score.tokens)
        + struct.pack(f"<{len(numbers)}d", *numbers)
        + bytes(map(bool, score.truncated))
        + (b"" if score.report is None else orjson.dumps(score.report))
    )
    return body + _mac(key, body)


def unpacked(key: bytes, entry: bytes) -> Score:
    """The score. Raises Damaged for anything that `packed` did not make of this very key."""
    body, mac = entry[:-MAC_BYTES], entry[-MAC_BYTES:]
    if len(body) < _HEAD.size or not hmac.compare_digest(mac, _mac(key, body)):
        raise Damaged("another key's, or changed since it was written")
    version, rows, heads, tokens = _HEAD.unpack_from(body)
    if version != VERSION:
        raise Damaged(f"of version {version}")
    numbers = struct.unpack_from(f"<{rows * heads}d", body, _HEAD.size)
    rest = body[_HEAD.size + 8 * len(numbers) :]
    return Score(
        values=tuple(numbers[row * heads : (row + 1) * heads] for row in range(rows)),
        truncated=tuple(map(bool, rest[:rows])),
        tokens=tokens,
        cached=True,
        report=orjson.loads(rest[rows:]) if len(rest) > rows else None,
    )


def _mac(key: bytes, body: bytes) -> bytes:
    """Binds the entry to its key.

    The store knows only half of the key: who can write to it, but does not know the text, cannot forge an entry.
    """
    return hashlib.blake2b(body, digest_size=MAC_BYTES, key=key).digest()
