"""Where rewards come from: a configuration that this process runs, or a service's address."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import httpx
import typer

from guerdon.cli.faults import CannotRun, unknown
from guerdon.cli.rows import Json
from guerdon.cli.scoring import InProcess, Models, OverHttp, Request, unbounded
from guerdon.config.load import cache_folder, environment, load
from guerdon.domain.ports import ignore
from guerdon.gateway import Gateway
from guerdon.transport.native import NativeApi
from guerdon.wiring import Plan, Service, plan
from guerdon_client import Client, GuerdonError, Retries


class Place(Protocol):
    """Models, and how to have them score."""

    def cards(self) -> list[Json]:
        """What can be called by name, as ``/v1/models`` lists it."""
        ...

    def opened(self, request: Request) -> AbstractAsyncContextManager[Models]:
        """A way to score while the block runs."""
        ...


class Here:
    """A configuration, run by this process and its workers."""

    def __init__(self, planned: Plan) -> None:
        limits = unbounded(planned.config.limits)
        self._plan = dataclasses.replace(planned, config=planned.config.model_copy(update={"limits": limits}))

    def cards(self) -> list[Json]:
        """Nothing needs to be loaded for them."""
        return self._api(Gateway(self._plan.models, {}, record=ignore)).models(0)["data"]  # type: ignore[no-any-return]

    @contextlib.asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[Models]:
        """Loads the models first."""
        service = Service(self._plan)
        typer.echo("guerdon: loading models ...", err=True)
        try:
            await service.start()
            await service.ready()
            yield InProcess(self._api(service.gateway), request)
        finally:
            await service.close()

    def _api(self, gateway: Gateway) -> NativeApi:
        return NativeApi(gateway, self._plan.config.limits)


class There:
    """A running service."""

    def __init__(self, url: str, api_key: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise CannotRun(f"--url {url}: an address starts with http:// or https://")
        self._url, self._api_key = url, api_key

    def cards(self) -> list[Json]:
        """Asks the service."""
        try:
            with self._client() as client:
                return client.models()
        except (GuerdonError, httpx.HTTPError) as error:
            raise CannotRun(f"{self._url}: no Guerdon service answers there: {error}") from error

    @contextlib.asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[Models]:
        """Connects when first asked."""
        with self._client() as client:
            yield OverHttp(client, request)

    def _client(self) -> Client:
        try:
            return Client(self._url, api_key=self._api_key, retries=Retries(attempts=1))  # `Steadfast` asks again
        except (httpx.InvalidURL, ValueError) as error:
            raise CannotRun(f"--url {self._url}: {error}") from error


def place(config: Path | None, url: str | None, api_key: str | None, *, calibrated: bool = True) -> Place:
    """Where to ask. Raises CannotRun or NotServable."""
    return There(url, api_key) if url is not None else Here(planned(config, calibrated=calibrated))


def planned(config: Path | None, *, calibrated: bool = True) -> Plan:
    """The configuration, its checkpoints found and checked. Raises NotServable."""
    settings, base = load(config, environment())
    return plan(settings, base=base, cache=cache_folder(environment()), calibrated=calibrated)


def card_of(cards: list[Json], model: str) -> dict[str, Any]:
    """The card of one model. Raises CannotRun that names the known ones."""
    for card in cards:
        if card["id"] == model:
            return card
    raise unknown("model", model, [card["id"] for card in cards])
