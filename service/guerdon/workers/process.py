"""A worker in a child process, started anew whenever it dies or hangs."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any, Literal

from guerdon.domain.errors import NotServable
from guerdon.domain.events import WorkerDown, WorkerUp
from guerdon.domain.ports import Record
from guerdon.domain.queries import Deliver, Query
from guerdon.workers.child_process import ChildProcess
from guerdon.workers.settings import WorkerSettings
from guerdon.workers.worker import Batch, WorkerDied

log = logging.getLogger(__name__)

CHILD = (sys.executable, "-P", "-m", "guerdon.workers.child")  # -P: the current folder is no source of code
GIVE_UP_WAITING_AFTER = 3
"""So many children in a row that died while loading, and callers are refused at once instead of kept waiting."""


class ProcessWorker:
    """Keeps one child running. While it restarts, `up` is false and batches wait for `ready`."""

    slots = 2  # one that is computed, one in the child's socket

    def __init__(
        self,
        engine_settings: dict[str, Any],
        settings: WorkerSettings,
        *,
        name: str,
        replica: int,
        record: Record,
        command: Sequence[str] = CHILD,
    ) -> None:
        self._engine_settings, self._settings, self._command = engine_settings, settings, command
        self._name, self._replica, self._record = name, replica, record
        self._up = asyncio.Event()
        self._child: ChildProcess | None = None
        self._short_lives = 0
        self._failed_loads = 0
        self._not_servable: str | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.shares_prefixes = False

    @property
    def up(self) -> bool:
        """Whether the child has loaded and lives."""
        return self._up.is_set() and self._not_servable is None

    @property
    def failing(self) -> str | None:
        """Why there is no child and will not be one soon."""
        if self._not_servable is not None:
            return self._not_servable
        if self._failed_loads >= GIVE_UP_WAITING_AFTER:
            return f"the worker failed to load {self._failed_loads} times in a row"
        return None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it is up."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Begin keeping a child alive."""
        self._supervisor = asyncio.create_task(self._supervise())

    async def ready(self) -> None:
        """Wait for a loaded child. Raises NotServable when its engine refuses what it is to load."""
        await self._up.wait()
        if self._not_servable is not None:
            raise NotServable(self._not_servable)

    async def run(self, queries: Sequence[Query], deliver: Deliver) -> Batch:
        """Run one batch in the child. Raises WorkerDied if it goes down meanwhile."""
        if self._child is None:
            raise WorkerDied("the worker is restarting")
        try:
            return await self._child.run(queries, deliver)
        except WorkerDied:
            # From now on `ready` waits for the next child, however long this one takes to be cleared away.
            self._up.clear()
            raise

    async def close(self) -> None:
        """End the child, and stop restarting it."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._record(WorkerDown(self._name, self._replica, "closed"))

    async def _supervise(self) -> None:
        while self._not_servable is None:
            ending = await self._one_life()
            self._record(WorkerDown(self._name, self._replica, ending))
            wait_s = min(self._settings.backoff_s * 2 ** min(self._short_lives, 30), self._settings.backoff_max_s)
            log.warning("worker.down engine=%s replica=%d reason=%s", self._name, self._replica, ending)
            await asyncio.sleep(wait_s)

    async def _one_life(self) -> Literal["died", "hung", "failed_to_load"]:
        """Start a child, let it serve until it ends, and say why it did."""
        child: ChildProcess | None = None
        try:
            child = await ChildProcess.spawn(self._command, self._settings)
            self.shares_prefixes = await child.loaded(self._engine_settings)
            return await self._serving(child)
        except NotServable as error:
            self._not_servable = str(error)
            self._up.set()
        except (WorkerDied, OSError) as error:
            log.warning("worker.failed_to_load engine=%s replica=%d error=%s", self._name, self._replica, error)
            self._short_lives += 1
            self._failed_loads += 1
        finally:
            if child is not None:
                await child.kill()
        return "failed_to_load"

    async def _serving(self, child: ChildProcess) -> Literal["died", "hung"]:
        self._child = child
        self._failed_loads = 0
        self._up.set()
        self._record(WorkerUp(self._name, self._replica))
        started = asyncio.get_running_loop().time()
        try:
            return await child.ended()
        finally:
            self._child = None
            self._up.clear()
            lived_s = asyncio.get_running_loop().time() - started
            self._short_lives = self._short_lives + 1 if lived_s < self._settings.backoff_max_s else 0
