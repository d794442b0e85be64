"""Sends copies of a request that has no answer yet; the first good answer counts."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from guerdon_client.steps import Outcome, Reply


def first_answer(send: Callable[[], Outcome], copies_at: Sequence[float]) -> Outcome:
    """Copies are sent from threads of their own at these times; one that comes too late is left to itself."""
    if not copies_at:
        return send()
    came: SimpleQueue[Outcome | Exception] = SimpleQueue()

    def copy() -> None:
        try:
            came.put(send())
        except Exception as problem:  # handed on to the one who waits, whatever it is
            came.put(problem)

    started, under_way, left = time.monotonic(), 0, [0.0, *copies_at]
    while True:
        while left and time.monotonic() - started >= left[0]:
            del left[0]
            under_way += 1
            Thread(target=copy, daemon=True).start()
        try:
            outcome = came.get(timeout=max(started + left[0] - time.monotonic(), 0) if left else None)
        except Empty:
            continue
        under_way -= 1
        if isinstance(outcome, Exception) and not isinstance(outcome, Outcome):
            raise outcome
        if good(outcome) or not under_way:
            return outcome


async def first_answer_async(send: Callable[[], Coroutine[Any, Any, Outcome]], copies_at: Sequence[float]) -> Outcome:
    """The same with tasks; those that come too late are cancelled."""
    if not copies_at:
        return await send()
    loop = asyncio.get_running_loop()
    started, left = loop.time(), [0.0, *copies_at]
    under_way: set[asyncio.Task[Outcome]] = set()
    try:
        while True:
            while left and loop.time() - started >= left[0]:
                del left[0]
                under_way.add(asyncio.create_task(send()))
            wait_s = max(started + left[0] - loop.time(), 0) if left else None
            done, under_way = await asyncio.wait(under_way, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            outcomes = [task.result() for task in done]
            best = next((outcome for outcome in outcomes if good(outcome)), None)
            if best is not None or (outcomes and not under_way):
                return outcomes[0] if best is None else best
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def good(outcome: Outcome) -> bool:
    """Whether it is an answer, and no error."""
    return isinstance(outcome, Reply) and outcome.problem() is None
