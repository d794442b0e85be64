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
    """Queries as plain lists; their tokens are bytes already."""
    return [(q.token_ids, q.type_ids, q.adapter, q.layers, q.pooling) for q in queries]


def unpack_queries(packed: Sequence[Any]) -> list[Query]:
    """The inverse of `pack_queries`."""
    return [Query(ids, types, adapter, tuple(layers), pooling) for ids, types, adapter, layers, pooling in packed]


def pack_answer(answer: Answer) -> Any:
    """An answer as float32 bytes, an error as a pair of code and message."""
    return (answer.code, answer.message) if isinstance(answer, ServiceError) else answer.astype("<f4").tobytes()


def unpack_answer(packed: Any) -> Answer:
    """The inverse of `pack_answer`."""
    return np.frombuffer(packed, dtype="<f4") if isinstance(packed, bytes) else BY_CODE[packed[0]](packed[1])
