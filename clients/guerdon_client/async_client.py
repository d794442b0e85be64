"""The client for programs that run on asyncio."""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from guerdon_client.calls import Calls, OnError, Part, Scoring
from guerdon_client.chunks import Progress
from guerdon_client.copies import first_answer_async
from guerdon_client.errors import GuerdonError
from guerdon_client.requests import Json, Prompt, RankOptions, Response, ScoreOptions, one_input, present
from guerdon_client.results import Comparison, ModelCard, RerankResult, ScoreBatch, ScoreResult, parsed
from guerdon_client.retries import Retries
from guerdon_client.steps import Ask, Outcome, Patience, Steps
from guerdon_client.wires import async_wire

T = TypeVar("T")
DEFAULT = Retries()


class AsyncClient:
    """What `Client` is, for one event loop; its methods promise what those of `Client` do."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        retries: Retries = DEFAULT,
        hedge_after_s: float | None = None,
        in_flight: int = 8,
        ca_file: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._wire = async_wire(url, api_key=api_key, ca_file=ca_file, transport=transport)
        self._patience = Patience(timeout_s=timeout_s, retries=retries, now=time.monotonic, draw=random.random)
        self._calls = Calls(self._patience)
        self._hedge_after_s, self._in_flight = hedge_after_s, in_flight
        self._known: Mapping[str, ModelCard] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def score(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        model: str = "default",
        reference: str | None = None,
        principle: str | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreResult:
        """The reward of each response to one prompt. Raises GuerdonError."""
        given = one_input(prompt, responses, reference=reference, principle=principle)
        return next((await self.score_many([given], model=model, **options)).good())

    async def score_many(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        model: str = "default",
        errors: OnError = "raise",
        progress: Progress | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreBatch:
        """The rewards of many inputs, in their order, in as many requests as it takes."""
        scoring = Scoring(inputs=list(inputs), model=model, errors=errors, options=options)
        chunks = scoring.chunks(await self._limits() if scoring.needs_cards() else {})
        works = [(scoring.steps(chunk, self._patience), len(chunk)) for chunk in chunks]
        return scoring.result(await self._all(works, progress))

    async def score_inputs(self, inputs: Sequence[Json], *, model: str = "default", **options: Any) -> Json:
        """The whole answer of ``/v1/score``, as it is."""
        answer = await self.call("/v1/score", {"model": model, "inputs": list(inputs), **options})
        return parsed(lambda: dict(answer))

    async def rerank(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        model: str = "default",
        top_n: int | None = None,
        reference: str | None = None,
        principle: str | None = None,
        **options: Unpack[RankOptions],
    ) -> RerankResult:
        """The responses by reward, best first. Raises GuerdonError."""
        more = present({"top_n": top_n, "reference": reference, "principle": principle})
        return await self._run(self._calls.rerank(prompt, responses, model=model, **more, **options))

    async def compare(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        model: str = "default",
        pairs: Sequence[Sequence[int]] | None = None,
        **options: Unpack[RankOptions],
    ) -> Comparison:
        """How probably one response is better than another. Raises GuerdonError."""
        return await self._run(self._calls.compare(prompt, responses, pairs, model=model, **options))

    async def cards(self) -> list[ModelCard]:
        """Everything the service can be asked by name."""
        return list((await self._run(self._calls.cards())).values())

    async def models(self) -> list[Json]:
        """The same as the service lists it."""
        return await self._run(self._calls.listed())

    async def call(self, path: str, body: Json | None = None) -> Any:
        """The answer of any of the service's paths."""
        return await self._run(self._calls.call(path, body))

    async def _limits(self) -> Mapping[str, ModelCard]:
        if self._known is None:
            self._known = await self._run(self._calls.cards())
        return self._known

    async def _all(self, works: Sequence[tuple[Steps[Part], int]], progress: Progress | None) -> list[Part]:
        """Each done, several at a time; the first error ends it."""
        slots, total, done = asyncio.Semaphore(self._in_flight), sum(size for _, size in works), 0

        async def one(steps: Steps[Part], size: int) -> Part:
            nonlocal done
            async with slots:
                part = await self._run(steps)
            done += size
            if progress is not None:
                progress(done, total)
            return part

        tasks = [asyncio.create_task(one(steps, size)) for steps, size in works]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, steps: Steps[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Ask):
                outcome = await self._asked(step)
            else:
                await asyncio.sleep(step.seconds)
                outcome = None

    async def _asked(self, step: Ask) -> Outcome:
        deadline = time.monotonic() + step.timeout_s
        copies_at = self._patience.retries.copies_at(step.timeout_s, self._hedge_after_s)
        try:
            return await first_answer_async(
                lambda: self._wire.ask(step.request, deadline - time.monotonic()), copies_at
            )
        except GuerdonError as problem:
            return problem
