"""Many small calls as few larger ones."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


class Coalesced(Generic[Item, Value]):
    """One call at a time to ``run``, which gives a value for each item; all that ask meanwhile are the next call.

    A call has at most ``most`` items, but for a caller that has more by itself.
    """

    def __init__(self, run: Callable[[list[Item]], Awaitable[Sequence[Value]]], *, most: int) -> None:
        self._run, self._most = run, most
        self._waiting: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Value]]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.items = 0

    async def __call__(self, items: Sequence[Item]) -> Sequence[Value]:
        """The items' values. Raises what ``run`` raises."""
        future: asyncio.Future[Sequence[Value]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        self.items += len(items)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._call(self._next())
        finally:
            self._task = None

    def _next(self) -> "list[tuple[Sequence[Item], asyncio.Future[Sequence[Value]]]]":
        taken = [self._waiting.popleft()]
        count = len(taken[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= self._most:
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        return taken

    async def _call(self, asked: "list[tuple[Sequence[Item], asyncio.Future[Sequence[Value]]]]") -> None:
        everything = [item for items, _ in asked for item in items]
        try:
            values = await self._run(everything)
        except BaseException as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        finally:
            self.items -= len(everything)
        start = 0
        for items, future in asked:
            if not future.done():
                future.set_result(values[start : start + len(items)])
            start += len(items)
