"""What an engine is asked, and what it answers."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guerdon.domain.errors import ServiceError

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
TOKEN_BYTES = 4
COMPARED_BYTES = 256
"""Of two sequences at a time. A queue compares short ones by the thousand: this is faster there than arrays."""


@dataclass(frozen=True, slots=True)
class Query:
    """One token sequence, and what is wanted of it. Made with `Query.of`.

    ``token_ids`` are 32-bit integers as bytes: a hundred thousand of them wait in a queue, hashed once each, and
    whatever orders bytes brings sequences with a common prefix together. ``type_ids`` are segment ids in the same
    form, empty where the model has none. ``adapter`` names a LoRA adapter; empty is the base model. Without
    ``layers`` the answer is the classification head's raw logits; with them, the pooled hidden states of those
    layers one after the other (0 is the embedding, -1 the last).
    """

    token_ids: bytes
    type_ids: bytes = b""
    adapter: str = ""
    layers: tuple[int, ...] = ()
    pooling: str = "last"

    @classmethod
    def of(
        cls,
        token_ids: Sequence[int],
        type_ids: Sequence[int] = (),
        *,
        adapter: str = "",
        layers: tuple[int, ...] = (),
        pooling: str = "last",
    ) -> Self:
        """A query from plain integers."""
        return cls(array("i", token_ids).tobytes(), array("i", type_ids).tobytes(), adapter, layers, pooling)

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.token_ids) // TOKEN_BYTES


def integers(packed: bytes) -> Integers:
    """The ids in a query's bytes."""
    return np.frombuffer(packed, dtype=np.int32)


def shared_tokens(one: bytes, other: bytes) -> int:
    """The length in tokens of the longest common prefix."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length // TOKEN_BYTES
    start, end = 0, COMPARED_BYTES
    while one[start:end] == other[start:end]:
        start, end = end, end + COMPARED_BYTES
    end = min(end, length)
    differ = int.from_bytes(one[start:end]) ^ int.from_bytes(other[start:end])
    return (end - -(-differ.bit_length() // 8)) // TOKEN_BYTES


Answer = Floats | ServiceError
"""A vector [labels], or [layers * hidden], or the error of this one query."""

Deliver = Callable[[int, Answer, int], None]
"""Takes one answer the moment it is there: the query's place in its batch, the answer, and the tokens computed for
it: its own, less those that another query of the batch or an earlier batch had computed already."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch cost: tokens computed, padding included, and how often it was halved.

    ``bisections`` count halvings on account of a query that the model fails on, ``memory_splits`` those for want of
    memory.
    """

    tokens: int
    bisections: int = 0
    memory_splits: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.tokens + other.tokens,
            self.bisections + other.bisections,
            self.memory_splits + other.memory_splits,
        )
