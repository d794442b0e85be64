"""Runs a transformers model: token sequences in, head outputs or pooled hidden states out."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch

from guerdon.domain.errors import EngineFailed
from guerdon.domain.queries import Answer, Deliver, Floats, Query, Work, integers
from guerdon.engines.settings import EngineSettings
from guerdon.engines.torch_choice import forward_pass
from guerdon.engines.torch_lanes import Lanes
from guerdon.engines.torch_loading import load_model
from guerdon.engines.torch_pass import Passed

log = logging.getLogger(__name__)

LARGE = 1 << 25
"""Tokens x width^2 from which several threads get through a matrix sooner than one, their meetings included."""


FAILURES = (RuntimeError, ValueError, IndexError, TypeError, MemoryError)


class TorchEngine:
    """One model on one device. Its worker calls it from one thread at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        self._loaded = load_model(settings)
        threads = settings.threads or torch.get_num_threads()
        self._pass = forward_pass(
            self._loaded, prefix_cache_bytes=settings.prefix_cache_bytes, compiled=settings.compile, threads=threads
        )
        several = self._pass.side_by_side and self._loaded.device.type == "cpu"
        self._lane_count = threads if several else 1
        self._lanes = Lanes(self._lane_count, threads)
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
        for alike in _alike(queries, self._readable(queries, deliver)):
            groups = self._pass.groups([queries[i] for i in alike], self._max_tokens, self._lane_count)
            parts = [[alike[i] for i in group] for group in groups]
            parts.sort(key=lambda part: -sum(queries[i].length for i in part))
            large = sum(queries[i].length for i in alike) * self._loaded.width**2 >= LARGE
            with self._loaded.adapted(queries[alike[0]].adapter):
                self._lanes.each(lambda part: self._isolated(part, queries, deliver), parts, large=large)
        return self._work

    def _isolated(self, indexes: Sequence[int], queries: Sequence[Query], deliver: Deliver) -> None:
        """Deliver answers, with a failing batch halved until the query that spoils it stands alone."""
        failure = self._attempted(indexes, queries, deliver)
        if failure is not None and failure.starved and self._pass.forget():
            failure = self._attempted(indexes, queries, deliver)
        if failure is None:
            return
        starved = failure.starved
        if len(indexes) == 1:
            self._done(indexes, [failure.answer], [0], Work(0), deliver)
            return
        if starved:
            self._starve([queries[index] for index in indexes])
        halved = Work(0, memory_splits=1) if starved else Work(0, bisections=1)
        self._done([], [], [], halved, deliver)
        middle = len(indexes) // 2
        self._isolated(indexes[:middle], queries, deliver)
        self._isolated(indexes[middle:], queries, deliver)

    def _attempted(self, indexes: Sequence[int], queries: Sequence[Query], deliver: Deliver) -> "_Failure | None":
        """Compute and deliver, or tell what failed: not by the exception, which would keep the pass's tensors."""
        try:
            with torch.inference_mode():
                passed = self._pass([queries[index] for index in indexes])
                rows = passed.answers.float().cpu().numpy()
        except FAILURES as error:
            if _lost_device(error):
                raise  # nothing works from here on: the worker's next life tells the culprit from its neighbours
            if len(indexes) == 1:
                log.exception("engine.query_failed")
            return _Failure(type(error).__name__, _out_of_memory(error))
        self._finish(indexes, queries, passed, rows, deliver)
        return None

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
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("engine.out_of_memory max_tokens=%d", self._max_tokens)

    def _readable(self, queries: Sequence[Query], deliver: Deliver) -> list[int]:
        """Indexes of the queries whose tokens the model has. The others, which CUDA would not survive, get an error."""
        readable = []
        for index, query in enumerate(queries):
            ids = integers(query.token_ids)
            if len(ids) and ids.min() >= 0 and ids.max() < self._loaded.vocabulary:
                readable.append(index)
            else:
                deliver(index, EngineFailed("the model has no such token, or there is none to read"), 0)
        return readable


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a pass failed: the error's name, and whether it was for want of memory."""

    name: str
    starved: bool

    @property
    def answer(self) -> Answer:
        if self.starved:
            return EngineFailed("the device has too little memory for this response, even alone")
        return EngineFailed(f"the model failed on this response ({self.name})")


def _out_of_memory(error: Exception) -> bool:
    """Whether this is an allocator's error, of the device or of the CPU."""
    told = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)


def _lost_device(error: Exception) -> bool:
    """Whether the device will answer with this error from now on."""
    return not _out_of_memory(error) and any(words in str(error) for words in ("CUDA error", "device-side assert"))


def _alike(queries: Sequence[Query], indexes: Sequence[int]) -> list[list[int]]:
    """Indexes of queries that one forward pass can answer: same adapter, layers and pooling."""
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index in indexes:
        query = queries[index]
        alike[query.adapter, query.layers, query.pooling].append(index)
    return list(alike.values())
