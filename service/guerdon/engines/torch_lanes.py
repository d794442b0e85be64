"""Several forward passes at a time on a CPU, each on threads of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch

T = TypeVar("T")


class Lanes:
    """Shares out ``threads`` over passes that run side by side, at ``most`` so many.

    Threads that work on one matrix meet after every operation, and whoever was held up by another process holds up
    all. Passes side by side meet once a batch.
    """

    def __init__(self, most: int, threads: int) -> None:
        self._most, self._threads = most, threads
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="lane") if most > 1 else None

    def each(self, work: Callable[[T], None], parts: Sequence[T], *, large: bool) -> None:
        """Do the work on every part, in any order, and return when all is done. What it raises is raised then.

        What does not come out even, so that some lanes would stand still, is done last: on fewer lanes with more
        threads each. A single part gets all threads if it is ``large``.
        """
        lanes = min(self._most, len(parts))
        if lanes < 2 or self._pool is None:
            torch.set_num_threads(self._threads if large else 1)
            for part in parts:
                work(part)
            return
        even = len(parts) - len(parts) % lanes
        self._side_by_side(work, parts[:even], lanes, self._pool)
        self.each(work, parts[even:], large=large)

    def _side_by_side(
        self, work: Callable[[T], None], parts: Sequence[T], lanes: int, pool: ThreadPoolExecutor
    ) -> None:
        waiting: SimpleQueue[T] = SimpleQueue()
        for part in parts:
            waiting.put(part)
        running = [pool.submit(self._drain, work, waiting, self._threads // lanes) for _ in range(lanes)]
        wait(running)
        for lane in running:
            lane.result()

    def _drain(self, work: Callable[[T], None], waiting: "SimpleQueue[T]", threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            while True:
                work(waiting.get_nowait())
        except Empty:
            return
