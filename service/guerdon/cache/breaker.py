"""Spares callers a store that does not answer."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Breaker:
    """Closed while the store answers. Once tripped, it is open until a probe succeeds; no caller waits for one.

    ``probe`` raises while the store does not answer. ``changed`` is told of every change, true for open.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], *, every_s: float, changed: Callable[[bool], None]
    ) -> None:
        self._probe, self._every_s, self._changed = probe, every_s, changed
        self._probing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the store is to be left alone."""
        return self._probing is not None

    def trip(self, why: str) -> None:
        """Open, unless it is."""
        if self._probing is None:
            log.warning("cache.out: %s; scores are computed without it", why)
            self._probing = asyncio.create_task(self._until_it_answers())
            self._changed(True)

    async def _until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._probe()
            except Exception as error:  # whatever it is, the store is not back, and is to be tried again
                log.debug("cache.still_out: %s", error)
                continue
            log.warning("cache.back")
            self._probing = None
            self._changed(False)
            return

    async def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
