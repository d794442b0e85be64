"""Runs a transformers model: token sequences in, head outputs or pooled hidden states out."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.domain.errors import EngineFailed
from guerdon.domain.queries import Answer, Floats, Query
from guerdon.engines.layout import near_equal_groups
from guerdon.engines.settings import EngineSettings
from guerdon.engines.torch_loading import Loaded, load_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Computed:
    """Answers in the order asked, the tokens that were computed for them, and how often a batch was halved."""

    answers: list[Answer]
    tokens: int
    bisections: int


class TorchEngine:
    """One model on one device. Not safe for threads: its worker calls it from one at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._loaded: Loaded = load_model(settings)
        self._tokens = 0
        self._bisections = 0

    def compute(self, queries: Sequence[Query]) -> Computed:
        """Answer every query. One that the model fails on gets an error, its neighbours their answers."""
        self._tokens = self._bisections = 0
        answers: list[Answer] = [EngineFailed("not computed")] * len(queries)
        for indexes in _alike(queries):
            for group in near_equal_groups([len(queries[i].token_ids) for i in indexes]):
                members = [indexes[i] for i in group]
                for i, answer in zip(members, self._isolated([queries[i] for i in members]), strict=True):
                    answers[i] = answer
        return Computed(answers, self._tokens, self._bisections)

    def _isolated(self, queries: Sequence[Query]) -> list[Answer]:
        """Answers, with a failing batch halved until the query that spoils it stands alone."""
        try:
            return list(self._forward(queries))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            if len(queries) == 1:
                log.exception("engine.query_failed")
                return [EngineFailed(f"the model failed on this response ({type(error).__name__})")]
            self._bisections += 1
            middle = len(queries) // 2
            return self._isolated(queries[:middle]) + self._isolated(queries[middle:])

    def _forward(self, queries: Sequence[Query]) -> list[Floats]:
        """One padded forward pass over queries that want the same thing."""
        first = queries[0]
        inputs = self._inputs(queries)
        self._tokens += inputs["input_ids"].numel()
        with torch.inference_mode(), self._loaded.adapted(first.adapter):
            if first.layers:
                rows = self._pooled_layers(inputs, queries)
            elif self._loaded.score is not None:
                rows = self._scored(inputs, queries, self._loaded.score)
            else:
                rows = self._loaded.model(**inputs).logits
            return list(rows.float().cpu().numpy())

    def _scored(self, inputs: dict[str, Tensor], queries: Sequence[Query], score: nn.Module) -> Tensor:
        """A decoder's score head, applied to the pooled token of each row."""
        hidden = self._loaded.base(**inputs, use_cache=False).last_hidden_state
        at = [pooled_index(query.token_ids, self._pad_to_skip()) for query in queries]
        rows: Tensor = score(hidden[torch.arange(len(at)), torch.tensor(at)])
        return rows

    def _pooled_layers(self, inputs: dict[str, Tensor], queries: Sequence[Query]) -> Tensor:
        """The wanted hidden layers of each row, pooled and laid one after the other."""
        layers = self._loaded.base(**inputs, output_hidden_states=True).hidden_states
        wanted = [layers[index] for index in queries[0].layers]
        if queries[0].pooling == "last":
            at = torch.tensor([len(query.token_ids) - 1 for query in queries])
            return torch.cat([layer[torch.arange(len(at)), at] for layer in wanted], dim=-1)
        mask = inputs["attention_mask"].unsqueeze(-1)
        real = [torch.where(mask > 0, layer.float(), 0.0) for layer in wanted]
        return torch.cat([layer.sum(1) / mask.sum(1) for layer in real], dim=-1)

    def _inputs(self, queries: Sequence[Query]) -> dict[str, Tensor]:
        """Rows padded on the right, so that the last real token's position is known by its length."""
        shape = (len(queries), max(len(query.token_ids) for query in queries))
        ids = np.full(shape, self._loaded.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types = np.zeros(shape, dtype=np.int64)
        for row, query in enumerate(queries):
            length = len(query.token_ids)
            ids[row, :length] = query.token_ids
            mask[row, :length] = 1
            types[row, : len(query.type_ids)] = query.type_ids
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._loaded.reads_type_ids:
            arrays["token_type_ids"] = types
        return {name: torch.from_numpy(array).to(self._loaded.device) for name, array in arrays.items()}

    def _pad_to_skip(self) -> int | None:
        return self._loaded.config_pad_id if self._settings.pooled_token == "transformers" else None


def pooled_index(token_ids: Sequence[int], pad_to_skip: int | None = None) -> int:
    """Where a decoder's reward is read: the last token.

    With ``pad_to_skip``, the last token that is not that id, as transformers' own classes pool (0 if all are).
    """
    last = len(token_ids) - 1
    if pad_to_skip is None:
        return last
    return next((i for i in range(last, -1, -1) if token_ids[i] != pad_to_skip), 0)


def _alike(queries: Sequence[Query]) -> list[list[int]]:
    """Indexes of queries that one forward pass can answer: same adapter, layers and pooling."""
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, query in enumerate(queries):
        alike[query.adapter, query.layers, query.pooling].append(index)
    return list(alike.values())
