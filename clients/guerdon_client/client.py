"""The client that waits for its answers."""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from threading import Event
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from guerdon_client.calls import Calls, OnError, Part, Scoring
from guerdon_client.chunks import Progress
from guerdon_client.copies import first_answer
from guerdon_client.errors import GuerdonError
from guerdon_client.requests import Json, Prompt, RankOptions, Response, ScoreOptions, one_input, present
from guerdon_client.results import Comparison, ModelCard, RerankResult, ScoreBatch, ScoreResult, parsed
from guerdon_client.retries import Retries
from guerdon_client.steps import Ask, Outcome, Patience, Steps
from guerdon_client.wires import wire

T = TypeVar("T")
DEFAULT = Retries()


class Client:
    """One service, over HTTP, or over gRPC (``grpc://`` and ``grpcs://``). Safe to use from several threads.

    A request and its retries have ``timeout_s`` together, and the service is told to stop by then; a call of many
    inputs is several requests, ``in_flight`` at a time. ``api_key`` is for a service that lets in only those who show
    one. With ``hedge_after_s``, a request that is not answered by then is sent a second time. ``ca_file`` holds the
    certificates to trust, where the service's is not signed by a public authority. Raises ValueError for an
    address that begins with none of ``http://``, ``https://``, ``grpc://`` and ``grpcs://``.
    """

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._wire = wire(url, api_key=api_key, ca_file=ca_file, transport=transport)
        self._patience = Patience(timeout_s=timeout_s, retries=retries, now=time.monotonic, draw=random.random)
        self._calls = Calls(self._patience)
        self._hedge_after_s, self._in_flight = hedge_after_s, in_flight
        self._known: Mapping[str, ModelCard] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def score(
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
        return next(self.score_many([given], model=model, **options).good())

    def score_many(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        model: str = "default",
        errors: OnError = "raise",
        progress: Progress | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreBatch:
        """The rewards of many inputs, in their order, in as many requests as it takes.

        An input is as in the body of ``/v1/score``. With ``errors="return"``, one that fails is a GuerdonError in its
        place; what ails the service, not an input, is raised all the same. ``progress`` is called as inputs get done.
        """
        scoring = Scoring(inputs=list(inputs), model=model, errors=errors, options=options)
        chunks = scoring.chunks(self._limits() if scoring.needs_cards() else {})
        works = [(scoring.steps(chunk, self._patience), len(chunk)) for chunk in chunks]
        return scoring.result(self._all(works, progress))

    def score_inputs(self, inputs: Sequence[Json], *, model: str = "default", **options: Any) -> Json:
        """The whole answer of ``/v1/score``, as it is: one request, and errors of inputs in their places."""
        answer = self.call("/v1/score", {"model": model, "inputs": list(inputs), **options})
        return parsed(lambda: dict(answer))

    def rerank(
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
        return self._run(self._calls.rerank(prompt, responses, model=model, **more, **options))

    def compare(
        self,
        prompt: Prompt,
        responses: Sequence[Response],
        *,
        model: str = "default",
        pairs: Sequence[Sequence[int]] | None = None,
        **options: Unpack[RankOptions],
    ) -> Comparison:
        """How probably one response is better than another, by default of each with each. Raises GuerdonError."""
        return self._run(self._calls.compare(prompt, responses, pairs, model=model, **options))

    def cards(self) -> list[ModelCard]:
        """Everything the service can be asked by name."""
        return list(self._run(self._calls.cards()).values())

    def models(self) -> list[Json]:
        """The same as the service lists it. Raises at once where nobody answers."""
        return self._run(self._calls.listed())

    def call(self, path: str, body: Json | None = None) -> Any:
        """The answer of any of the service's paths, with this client's patience."""
        return self._run(self._calls.call(path, body))

    def _limits(self) -> Mapping[str, ModelCard]:
        if self._known is None:
            self._known = self._run(self._calls.cards())
        return self._known

    def _all(self, works: Sequence[tuple[Steps[Part], int]], progress: Progress | None) -> list[Part]:
        """Each done, several at a time; the first error ends it."""
        total, done = sum(size for _, size in works), 0
        if len(works) == 1 and progress is None:
            return [self._run(works[0][0])]
        over = Event()
        pool = ThreadPoolExecutor(max(1, min(self._in_flight, len(works))))
        try:
            running = {pool.submit(self._run, steps, over): size for steps, size in works}
            for finished in as_completed(running):
                finished.result()
                done += running[finished]
                if progress is not None:
                    progress(done, total)
            return [future.result() for future in running]
        finally:
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, steps: Steps[T], over: Event | None = None) -> T:
        """Drive the steps; when ``over`` is set, nobody waits for what comes of them, and no further one is taken."""
        over = over or Event()
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Ask):
                outcome = self._asked(step)
            else:
                outcome = None
                if over.wait(step.seconds):
                    raise CancelledError

    def _asked(self, step: Ask) -> Outcome:
        deadline = time.monotonic() + step.timeout_s
        copies_at = self._patience.retries.copies_at(step.timeout_s, self._hedge_after_s)
        try:
            return first_answer(lambda: self._wire.ask(step.request, deadline - time.monotonic()), copies_at)
        except GuerdonError as problem:
            return problem
