"""A forward pass over padded rows, for models whose attention cannot be packed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.domain.queries import Query, integers
from guerdon.engines.layout import near_equal_groups
from guerdon.engines.torch_loading import Loaded
from guerdon.engines.torch_pass import Passed, pooled_index


class PaddedPass:
    """Sequences of nearly equal length, padded on the right to one rectangle."""

    shares_prefixes = False
    side_by_side = True

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def groups(self, queries: Sequence[Query], max_tokens: int | None, lanes: int) -> list[list[int]]:
        """See `ForwardPass`."""
        return near_equal_groups([query.length for query in queries], max_tokens)

    def cost(self, queries: Sequence[Query]) -> int:
        """See `ForwardPass`."""
        return len(queries) * max(query.length for query in queries)

    def __call__(self, queries: Sequence[Query]) -> Passed:
        """See `ForwardPass`."""
        inputs = self._inputs(queries)
        if queries[0].layers:
            answers = self._pooled_layers(inputs, queries)
        elif self._loaded.score is not None:
            answers = self._scored(inputs, queries, self._loaded.score)
        else:
            answers = self._loaded.model(**inputs).logits
        return Passed(answers, [query.length for query in queries], inputs["input_ids"].numel())

    def forget(self) -> bool:
        """Nothing is kept."""
        return False

    def _scored(self, inputs: dict[str, Tensor], queries: Sequence[Query], score: nn.Module) -> Tensor:
        """A decoder's score head, applied to the pooled token of each row."""
        hidden = self._loaded.base(**inputs, use_cache=False).last_hidden_state
        skipped = self._loaded.pad_to_skip
        at = [pooled_index(integers(query.token_ids).tolist(), skipped) for query in queries]
        rows: Tensor = score(hidden[torch.arange(len(at)), torch.tensor(at)])
        return rows

    def _pooled_layers(self, inputs: dict[str, Tensor], queries: Sequence[Query]) -> Tensor:
        """The wanted hidden layers of each row, pooled and laid one after the other."""
        layers = self._loaded.base(**inputs, output_hidden_states=True).hidden_states
        wanted = [layers[index] for index in queries[0].layers]
        if queries[0].pooling == "last":
            at = torch.tensor([query.length - 1 for query in queries])
            return torch.cat([layer[torch.arange(len(at)), at] for layer in wanted], dim=-1)
        mask = inputs["attention_mask"].unsqueeze(-1)
        real = [torch.where(mask > 0, layer.float(), 0.0) for layer in wanted]
        return torch.cat([layer.sum(1) / mask.sum(1) for layer in real], dim=-1)

    def _inputs(self, queries: Sequence[Query]) -> dict[str, Tensor]:
        """Rows padded on the right, so that the last real token's position is known by its length."""
        shape = (len(queries), max(query.length for query in queries))
        ids = np.full(shape, self._loaded.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types = np.zeros(shape, dtype=np.int64)
        for row, query in enumerate(queries):
            ids[row, : query.length] = integers(query.token_ids)
            mask[row, : query.length] = 1
            if query.type_ids:
                types[row, : query.length] = integers(query.type_ids)
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._loaded.reads_type_ids:
            arrays["token_type_ids"] = types
        return {name: torch.from_numpy(array).to(self._loaded.device) for name, array in arrays.items()}


class LonePass(PaddedPass):
    """One sequence at a time: for models that change themselves by the longest sequence that they are given."""

    side_by_side = False

    def groups(self, queries: Sequence[Query], max_tokens: int | None, lanes: int) -> list[list[int]]:
        """See `ForwardPass`."""
        return [[index] for index in range(len(queries))]
