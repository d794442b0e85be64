"""What a worker child and its parent say to each other: length-prefixed msgpack, never pickle."""

import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from guerdon.domain.errors import BY_CODE, ServiceError
from guerdon.domain.queries import Answer, Query

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 1 << 30


def frame(message: dict[str, Any]) -> bytes:
    """A message as it goes over the socket."""
    body: bytes = msgpack.packb(message)
    return HEADER.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    """A message from the bytes after its length."""
    message = msgpack.unpackb(body)
    if not isinstance(message, dict):
        raise ValueError("a message is a map")
    return message


def pack_queries(queries: Sequence[Query]) -> list[Any]:
    """Queries as plain lists and bytes (token ids as 32-bit integers)."""
    return [
        (_integers(q.token_ids), _integers(q.type_ids), q.adapter, q.layers, q.pooling)
        for q in queries
    ]  # fmt: skip


def unpack_queries(packed: Sequence[Any]) -> list[Query]:
    """The inverse of `pack_queries`."""
    return [
        Query(_read_integers(ids), _read_integers(types), adapter, tuple(layers), pooling)
        for ids, types, adapter, layers, pooling in packed
    ]


def pack_answers(answers: Sequence[Answer]) -> list[Any]:
    """Answers as float32 bytes, errors as a pair of code and message."""
    return [
        (answer.code, answer.message) if isinstance(answer, ServiceError) else answer.astype("<f4").tobytes()
        for answer in answers
    ]


def unpack_answers(packed: Sequence[Any]) -> list[Answer]:
    """The inverse of `pack_answers`."""
    return [
        np.frombuffer(answer, dtype="<f4") if isinstance(answer, bytes) else BY_CODE[answer[0]](answer[1])
        for answer in packed
    ]


def _integers(values: Sequence[int]) -> bytes:
    return np.asarray(values, dtype="<i4").tobytes()


def _read_integers(packed: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(packed, dtype="<i4").tolist())
