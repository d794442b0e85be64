"""Rewards for ms-swift: classes for its table of reward functions."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from guerdon_client.async_client import AsyncClient
from guerdon_client.environment import place
from guerdon_client.groups import grouped, rows
from guerdon_client.per_loop import shared
from guerdon_client.requests import Json, Messages, present


class Orm(Protocol):
    """What ms-swift makes of an entry of its table, and calls."""

    def __init__(self, args: Any = None, **_: Any) -> None: ...

    def __call__(self, completions: Sequence[str], **columns: Any) -> Any:
        """A reward for each completion."""
        ...


def orm(
    url: str | None = None,
    *,
    model: str | None = None,
    name: str = "Guerdon",
    aggregation: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    sync: bool = False,
) -> type[Orm]:
    """A class for ``orms``, whose rewards are logged under ``name``. ``sync=True`` for one that is no coroutine."""
    where = place(url, model, api_key)
    options = {"model": where.model} | present({"aggregation": aggregation})

    class Waiting:
        def __init__(self, args: Any = None, **_: Any) -> None: ...

        def __call__(self, completions: Sequence[str], *, messages: Sequence[Messages], **_: Any) -> list[float | None]:
            inputs = _inputs(completions, messages)
            return rows(inputs, shared(where.url, where.api_key).score_many(inputs, **options))

    class Asynchronous:
        def __init__(self, args: Any = None, **_: Any) -> None: ...

        async def __call__(
            self, completions: Sequence[str], *, messages: Sequence[Messages], **_: Any
        ) -> list[float | None]:
            inputs = _inputs(completions, messages)
            # ms-swift runs a new event loop for each batch, so connections do not outlive it.
            async with AsyncClient(where.url, api_key=where.api_key) as client:
                return rows(inputs, await client.score_many(inputs, **options))

    chosen: type[Orm] = Waiting if sync else Asynchronous
    chosen.__name__ = chosen.__qualname__ = name
    return chosen


def _inputs(completions: Sequence[str], messages: Sequence[Messages]) -> list[Json]:
    """Each sample's messages end with its completion."""
    return grouped([list(turns)[:-1] for turns in messages], completions)
