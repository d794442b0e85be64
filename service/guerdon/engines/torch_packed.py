"""A forward pass over one packed row: every distinct token once, no padding."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.domain.queries import TOKEN_BYTES, Integers, Query, integers, shared_tokens
from guerdon.engines import torch_known
from guerdon.engines.prefix_trie import Row, pack, pack_apart
from guerdon.engines.torch_attention import attending
from guerdon.engines.torch_flex import FlexAttention
from guerdon.engines.torch_heads import OwnHead
from guerdon.engines.torch_loading import Loaded
from guerdon.engines.torch_pass import Passed, pooled_index
from guerdon.engines.torch_segments import SegmentAttention

MIN_LANE_TOKENS, MAX_LANE_TOKENS = 128, 2048
"""A row of at least so many tokens is worth a lane of its own; one of so many keeps it as busy as a longer one."""


class PackedPass:
    """Packs decoders with their common prefixes shared, and encoders one sequence after the other."""

    side_by_side = True

    def __init__(self, loaded: Loaded, *, prefix_cache_bytes: int = 0) -> None:
        self._loaded = loaded
        self._attention = FlexAttention if loaded.device.type == "cuda" else SegmentAttention
        self._own_head = OwnHead(loaded.model)
        self.shares_prefixes = loaded.causal
        self._known = torch_known.KnownPrefixes(
            prefix_cache_bytes if loaded.causal else 0, fewest=torch_known.worth_knowing(loaded.width)
        )

    def groups(self, queries: Sequence[Query], max_tokens: int | None, lanes: int) -> list[list[int]]:
        """See `ForwardPass`. Sequences with a common prefix stay together as far as there is room."""
        order = sorted(range(len(queries)), key=lambda i: queries[i].token_ids)
        shared = self._shared([queries[i].token_ids for i in order])
        added = [queries[i].length - common for i, common in zip(order, shared, strict=True)]
        enough = None if lanes == 1 else min(max(sum(added) // lanes, MIN_LANE_TOKENS), MAX_LANE_TOKENS)
        groups: list[list[int]] = []
        tokens = 0
        for index, common, new in zip(order, shared, added, strict=True):
            length = queries[index].length
            full = max_tokens is not None and tokens + new > max_tokens
            parts_here = enough is not None and tokens >= enough and 2 * common < length
            if not groups or full or parts_here:
                groups.append([])
                tokens = length - new
            groups[-1].append(index)
            tokens += new
        return groups

    def cost(self, queries: Sequence[Query]) -> int:
        """See `ForwardPass`."""
        ordered = sorted(query.token_ids for query in queries)
        return sum(query.length for query in queries) - sum(self._shared(ordered))

    def _shared(self, sequences: Sequence[bytes]) -> list[int]:
        """What each sequence shares with the one before it."""
        if not self.shares_prefixes:
            return [0] * len(sequences)
        return [0, *(shared_tokens(one, other) for one, other in pairwise(sequences))]

    def __call__(self, queries: Sequence[Query]) -> Passed:
        """See `ForwardPass`."""
        sequences = [query.token_ids for query in queries]
        known = self._known.of(queries[0].adapter) if self._knowledge_helps(queries) else None
        matches = known.match(sequences, [self._pooled(query) for query in queries]) if known else []
        row = pack(sequences, [m.length for m in matches]) if self.shares_prefixes else pack_apart(sequences)
        pieces = {sequences[i][: m.length * TOKEN_BYTES]: m.pieces for i, m in enumerate(matches)}
        attention = self._attention(
            row, causal=self._loaded.causal, contexts=[pieces[c.prefix] for c in row.contexts], keep=known is not None
        )
        with attending(attention):
            answers = self._answers(row, queries)
        if known and answers.isfinite().all():
            known.keep(sequences, row, attention.kept)
        return Passed(answers, row.fresh, len(row.token_ids))

    def forget(self) -> bool:
        """See `ForwardPass`."""
        return self._known.clear()

    def _knowledge_helps(self, queries: Sequence[Query]) -> bool:
        """Whether sequences are long, and hidden states of their beginnings of no use to their answers."""
        only_ends = not queries[0].layers or queries[0].pooling == "last"
        return only_ends and any(query.length >= self._known.fewest for query in queries)

    def _answers(self, row: Row, queries: Sequence[Query]) -> Tensor:
        inputs = self._inputs(row, queries)
        if not queries[0].layers:
            return self._scored(self._loaded.base(**inputs).last_hidden_state[0], row, queries)
        layers = self._loaded.base(**inputs, output_hidden_states=True).hidden_states
        return pooled_layers([layers[index][0] for index in queries[0].layers], row, queries)

    def _inputs(self, row: Row, queries: Sequence[Query]) -> dict[str, Any]:
        arrays: dict[str, Integers] = {"input_ids": row.token_ids, "position_ids": row.positions}
        if self._loaded.first_position:
            arrays["position_ids"] = self._offset_positions(row)
        if self._loaded.reads_type_ids:
            arrays["token_type_ids"] = np.concatenate([_type_ids(query) for query in queries])
        inputs: dict[str, Any] = {
            name: torch.from_numpy(array.astype(np.int64)).unsqueeze(0).to(self._loaded.device)
            for name, array in arrays.items()
        }
        return inputs | {"use_cache": False} if self._loaded.causal else inputs

    def _offset_positions(self, row: Row) -> Integers:
        """RoBERTa's, which start after the pad token's id; a pad token inside a text stands at that id, uncounted."""
        real = row.token_ids != self._loaded.pad_id
        counted = [np.cumsum(real[segment.start : segment.end]) for segment in row.segments]
        positions: Integers = np.concatenate(counted) * real + self._loaded.first_position - 1
        return positions

    def _scored(self, hidden: Tensor, row: Row, queries: Sequence[Query]) -> Tensor:
        """The score head's outputs, or what the model's own class makes of each sequence's hidden states."""
        if self._loaded.score is not None:
            places = [row.place(index, self._pooled(query)) for index, query in enumerate(queries)]
            rows: Tensor = self._loaded.score(hidden[torch.tensor(places, device=hidden.device)])
            return rows
        mask = hidden.new_zeros((len(queries), max(query.length for query in queries)), dtype=torch.long)
        for index, query in enumerate(queries):
            mask[index, : query.length] = 1
        states = hidden.new_zeros((*mask.shape, hidden.shape[-1]))
        states[mask.bool()] = hidden
        return self._own_head(states, mask)

    def _pooled(self, query: Query) -> int:
        """The position that the query's answer is read at; what is known before it need not be computed."""
        if self._loaded.pad_to_skip is None or query.layers:
            return query.length - 1
        return pooled_index(integers(query.token_ids).tolist(), self._loaded.pad_to_skip)


def pooled_layers(layers: Sequence[Tensor], row: Row, queries: Sequence[Query]) -> Tensor:
    """Hidden layers [tokens, hidden] of each sequence, pooled and laid one after the other."""
    if queries[0].pooling == "last":
        places = torch.tensor([row.last(index) for index in range(len(queries))], device=layers[0].device)
        return torch.cat([layer[places] for layer in layers], dim=-1)
    lengths = torch.tensor([query.length for query in queries], device=layers[0].device).unsqueeze(-1)
    return torch.cat([_path_sums(layer, row) / lengths for layer in layers], dim=-1)


def _path_sums(layer: Tensor, row: Row) -> Tensor:
    """For each sequence the sum over all of its tokens [sequences, hidden]: a segment adds to what is above it."""
    sums: list[Tensor] = []
    for segment in row.segments:
        own = layer[segment.start : segment.end].float().sum(0)
        sums.append(own if segment.parent < 0 else own + sums[segment.parent])
    return torch.stack([sums[leaf] for leaf in row.leaves])


def _type_ids(query: Query) -> Integers:
    return integers(query.type_ids or bytes(query.length * TOKEN_BYTES))
