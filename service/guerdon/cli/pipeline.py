"""Rewards a stream of rows: several requests under way, the answers in the order of the rows."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from itertools import islice

from guerdon.cli.rows import Asked, Json, Row, Understand
from guerdon.cli.scoring import Scoring, on_thread
from guerdon.domain.errors import ServiceError
from guerdon.transport.errors import described


@dataclass(frozen=True, slots=True)
class Result:
    """A row, and the item that the service gave for it: ``rewards`` and more, or an ``error``."""

    row: Row
    item: Json


async def results(
    rows: Iterator[Row], scoring: Scoring, understand: Understand, *, batch: int, in_flight: int
) -> AsyncGenerator[list[Result], None]:
    """One result per row, in order, ``batch`` at a time. No more than the rows under way are held."""
    under_way: deque[asyncio.Task[list[Result]]] = deque()
    try:
        while chunk := await on_thread(lambda: list(islice(rows, batch))):
            under_way.append(asyncio.create_task(_rewarded(chunk, scoring, understand)))
            if len(under_way) == in_flight:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _rewarded(rows: list[Row], scoring: Scoring, understand: Understand) -> list[Result]:
    asked = [_understood(row, understand) for row in rows]
    inputs = [each.input for each in asked if isinstance(each, Asked)]
    items = iter(await scoring.score(inputs) if inputs else [])
    return [
        Result(row, each.told(next(items)) if isinstance(each, Asked) else {"error": described(each)})
        for row, each in zip(rows, asked, strict=True)
    ]


def _understood(row: Row, understand: Understand) -> Asked | ServiceError:
    try:
        return understand(row)
    except ServiceError as error:
        return error
