"""What an engine is asked, and what it answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guerdon.domain.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Query:
    """One token sequence, and what is wanted of it.

    ``type_ids`` are segment ids, empty where the model has none. ``adapter`` names a LoRA adapter;
    empty is the base model. Without ``layers`` the answer is the classification head's raw logits;
    with them, the pooled hidden states of those layers one after the other (0 is the embedding, -1 the last).
    """

    token_ids: tuple[int, ...]
    type_ids: tuple[int, ...] = ()
    adapter: str = ""
    layers: tuple[int, ...] = ()
    pooling: str = "last"


Floats = NDArray[np.float32]
Answer = Floats | ServiceError
"""A vector [labels], or [layers * hidden], or the error of this one query."""
