"""A worker in this process: its engine runs on a thread of its own."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from guerdon.domain.errors import NotServable
from guerdon.domain.events import WorkerDown, WorkerUp
from guerdon.domain.ports import Record
from guerdon.domain.queries import Answer, Deliver, Query
from guerdon.workers.worker import Batch, Engine, Once, WorkerDied


class InlineWorker:
    """One engine, loaded and run on one thread. ``load`` returns it, and may take long."""

    slots = 1

    def __init__(self, load: Callable[[], Engine], *, name: str, replica: int, record: Record) -> None:
        self._load = load
        self._name, self._replica, self._record = name, replica, record
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"engine-{name}")
        self._loading: asyncio.Task[Engine] | None = None

    async def start(self) -> None:
        """Begin loading on the engine's thread."""
        self._loading = asyncio.create_task(self._loaded())

    async def ready(self) -> None:
        """Wait for the engine. Raises NotServable when it cannot be loaded."""
        if self._loading is None:
            raise WorkerDied("not started")
        await asyncio.shield(self._loading)

    @property
    def up(self) -> bool:
        """Whether the engine is loaded."""
        return self._loading is not None and self._loading.done() and self.failing is None

    @property
    def failing(self) -> str | None:
        """Why loading failed."""
        if self._loading is None or not self._loading.done():
            return None
        if self._loading.cancelled():
            return "closed"
        error = self._loading.exception()
        return None if error is None else str(error) or type(error).__name__

    @property
    def shares_prefixes(self) -> bool:
        """Whether the engine does, once it is loaded."""
        return self._loading is not None and self.up and self._loading.result().shares_prefixes

    async def run(self, queries: Sequence[Query], deliver: Deliver) -> Batch:
        """Run one batch on the engine's thread. Raises ValueError unless it answers each query exactly once."""
        await self.ready()
        assert self._loading is not None
        engine = self._loading.result()
        loop = asyncio.get_running_loop()
        once = Once(len(queries), deliver)

        def deliver_here(index: int, answer: Answer, computed: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(once.deliver, index, answer, computed)

        started = time.perf_counter()
        work = await loop.run_in_executor(self._thread, engine.compute, queries, deliver_here)
        once.check()
        return Batch(work, time.perf_counter() - started)

    async def close(self) -> None:
        """Take no more batches; one that runs ends on its thread, unheard."""
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._record(WorkerDown(self._name, self._replica, "closed"))

    async def _loaded(self) -> Engine:
        try:
            engine = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        except Exception as error:  # whatever it is: without an engine there is nothing to serve with
            self._record(WorkerDown(self._name, self._replica, "failed_to_load"))
            raise NotServable(str(error) or type(error).__name__) from error
        self._record(WorkerUp(self._name, self._replica))
        return engine
