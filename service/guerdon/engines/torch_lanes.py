"""Several forward passes at a time on a CPU, each on threads of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch

T = TypeVar("T")


class Lanes:
    """Shares out ``threads`` over passes that run side by side.

    Threads that work on one matrix meet after every operation, and whoever was held up by another process holds up
    all. Passes side by side meet once a batch.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lane") if threads > 1 else None

    def each(self, work: Callable[[T], None], parts: Sequence[T], *, large: bool) -> None:
        """Do the work on every part, in any order, and return when all is done. It must not raise.

        A single part gets all threads if it is ``large``.
        """
        lanes = min(self._threads, len(parts))
        if lanes < 2 or self._pool is None:
            torch.set_num_threads(self._threads if large else 1)
            for part in parts:
                work(part)
            return
        waiting: SimpleQueue[T] = SimpleQueue()
        for part in parts:
            waiting.put(part)
        for lane in [self._pool.submit(self._drain, work, waiting, self._threads // lanes) for _ in range(lanes)]:
            lane.result()

    def _drain(self, work: Callable[[T], None], waiting: "SimpleQueue[T]", threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            while True:
                work(waiting.get_nowait())
        except Empty:
            return
