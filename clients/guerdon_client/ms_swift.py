"""Rewards for ms-swift: classes for its table of reward functions."""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon_client.async_client import AsyncClient
from guerdon_client.environment import place
from guerdon_client.groups import grouped, rows
from guerdon_client.requests import ClientOptions, Json, Messages, present
from guerdon_client.retries import Retries
from guerdon_client.shared import waiting


def orm(
    url: str | None = None,
    *,
    model: str | None = None,
    name: str = "Guerdon",
    aggregation: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    timeout_s: float | None = None,
    retries: Retries | None = None,
    sync: bool = False,
) -> type:
    """A class for ``orms``, whose rewards are logged under ``name``. ``sync=True`` for one that is no coroutine.

    A request and its retries have ``timeout_s``, by default 600 seconds.
    """
    where = place(url, model, api_key, timeout_s=timeout_s, retries=retries)
    patient: ClientOptions = {"api_key": where.api_key, "timeout_s": where.timeout_s, "retries": where.retries}
    options: dict[str, Any] = {"model": where.model} | present({"aggregation": aggregation})

    class Waiting:
        def __init__(self, args: Any = None, **_: Any) -> None: ...

        def __call__(self, completions: Sequence[str], *, messages: Sequence[Messages], **_: Any) -> list[float | None]:
            inputs = _inputs(completions, messages)
            return rows(inputs, waiting(where).score_many(inputs, **options))

    class Asynchronous:
        def __init__(self, args: Any = None, **_: Any) -> None: ...

        async def __call__(
            self, completions: Sequence[str], *, messages: Sequence[Messages], **_: Any
        ) -> list[float | None]:
            inputs = _inputs(completions, messages)
            # ms-swift runs a new event loop for each batch, so connections do not outlive it.
            async with AsyncClient(where.url, **patient) as client:
                return rows(inputs, await client.score_many(inputs, **options))

    chosen: type = Waiting if sync else Asynchronous
    chosen.__name__ = chosen.__qualname__ = name
    return chosen


def _inputs(completions: Sequence[str], messages: Sequence[Messages]) -> list[Json]:
    """Each sample's messages end with its completion."""
    return grouped([list(turns)[:-1] for turns in messages], completions)
