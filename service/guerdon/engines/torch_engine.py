"""Runs a transformers model: token sequences in, head outputs or pooled hidden states out."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch

from guerdon.domain.errors import EngineFailed
from guerdon.domain.queries import Answer, Deliver, Floats, Query, Work
from guerdon.engines.settings import EngineSettings
from guerdon.engines.torch_choice import forward_pass
from guerdon.engines.torch_lanes import Lanes
from guerdon.engines.torch_loading import load_model
from guerdon.engines.torch_pass import Passed

log = logging.getLogger(__name__)

LARGE = 1 << 25
"""Tokens x width^2 from which several threads get through a matrix sooner than one, their meetings included."""


class TorchEngine:
    """One model on one device. Its worker calls it from one thread at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        self._loaded = load_model(settings)
        threads = settings.threads or torch.get_num_threads()
        self._lane_count = threads if self._loaded.device.type == "cpu" else 1
        self._lanes = Lanes(self._lane_count)
        self._pass = forward_pass(
            self._loaded, prefix_cache_bytes=settings.prefix_cache_bytes, compiled=settings.compile
        )
        self._max_tokens: int | None = None
        self._counting = Lock()
        self._work = Work(0)

    @property
    def shares_prefixes(self) -> bool:
        """Whether a prefix that queries of a batch have in common is computed once."""
        return self._pass.shares_prefixes

    def compute(self, queries: Sequence[Query], deliver: Deliver) -> Work:
        """Answer every query. One that the model fails on gets an error, its neighbours their answers.

        ``deliver`` is called from several threads, but by one at a time.
        """
        self._work = Work(0)
        for alike in _alike(queries):
            groups = self._pass.groups([queries[i] for i in alike], self._max_tokens, self._lane_count)
            parts = [[alike[i] for i in group] for group in groups]
            parts.sort(key=lambda part: -sum(queries[i].length for i in part))
            large = sum(queries[i].length for i in alike) * self._loaded.width**2 >= LARGE
            with self._loaded.adapted(queries[alike[0]].adapter):
                self._lanes.each(lambda part: self._isolated(part, queries, deliver), parts, large=large)
        return self._work

    def _isolated(self, indexes: Sequence[int], queries: Sequence[Query], deliver: Deliver) -> None:
        """Deliver answers, with a failing batch halved until the query that spoils it stands alone."""
        try:
            with torch.inference_mode():
                passed = self._pass([queries[index] for index in indexes])
                rows = passed.answers.float().cpu().numpy()
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            starved = _out_of_memory(error)
            if len(indexes) == 1:
                log.exception("engine.query_failed")
                self._done(indexes, [_failure(error, starved=starved)], [0], Work(0), deliver)
                return
        else:
            self._finish(indexes, queries, passed, rows, deliver)
            return
        # Outside of the handler, whose traceback would keep the failed pass's tensors.
        if starved:
            self._starve([queries[index] for index in indexes])
        halved = Work(0, memory_splits=1) if starved else Work(0, bisections=1)
        self._done([], [], [], halved, deliver)
        middle = len(indexes) // 2
        self._isolated(indexes[:middle], queries, deliver)
        self._isolated(indexes[middle:], queries, deliver)

    def _finish(
        self, indexes: Sequence[int], queries: Sequence[Query], passed: Passed, rows: Floats, deliver: Deliver
    ) -> None:
        """Deliver a pass's answers. What is not finite may be a neighbour's doing: it is computed again, alone."""
        spoiled = [not np.isfinite(row).all() and len(indexes) > 1 for row in rows]
        good = [at for at, bad in enumerate(spoiled) if not bad]
        answers, fresh = [rows[at] for at in good], [passed.fresh[at] for at in good]
        self._done([indexes[at] for at in good], answers, fresh, Work(passed.tokens, bisections=any(spoiled)), deliver)
        for index, bad in zip(indexes, spoiled, strict=True):
            if bad:
                self._isolated([index], queries, deliver)

    def _done(
        self, indexes: Sequence[int], answers: Sequence[Answer], fresh: Sequence[int], work: Work, deliver: Deliver
    ) -> None:
        """Deliver what a pass answered, and count what it cost."""
        with self._counting:
            self._work += work
            for index, answer, tokens in zip(indexes, answers, fresh, strict=True):
                deliver(index, answer, tokens)

    def _starve(self, queries: Sequence[Query]) -> None:
        """Out of memory: from now on, no forward pass of more than half as much."""
        tokens = max(1, self._pass.cost(queries) // 2)
        self._max_tokens = tokens if self._max_tokens is None else min(tokens, self._max_tokens)
        self._pass.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("engine.out_of_memory max_tokens=%d", self._max_tokens)


def _out_of_memory(error: Exception) -> bool:
    """Whether this is the allocator's error, of the device or of the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _failure(error: Exception, *, starved: bool) -> Answer:
    if starved:
        return EngineFailed("the device has too little memory for this response, even alone")
    return EngineFailed(f"the model failed on this response ({type(error).__name__})")


def _alike(queries: Sequence[Query]) -> list[list[int]]:
    """Indexes of queries that one forward pass can answer: same adapter, layers and pooling."""
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, query in enumerate(queries):
        alike[query.adapter, query.layers, query.pooling].append(index)
    return list(alike.values())
