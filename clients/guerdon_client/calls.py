"""The calls of the service as steps, the same for every client."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from guerdon_client.chunks import Bounds, Piece, blamed, chunks, joined, may_split, pieces, placed
from guerdon_client.errors import GuerdonError, of_inputs
from guerdon_client.reading import comparison, model_card, rerank_result, score_batch
from guerdon_client.requests import Json, Prompt, Request, Response, one_input, rerank_body
from guerdon_client.results import Comparison, ModelCard, RerankResult, ScoreBatch, parsed
from guerdon_client.retries import ONCE
from guerdon_client.steps import Patience, Steps, answered

OnError = Literal["raise", "return"]
SMALL = Bounds(inputs=1)
"""One input with so many responses is sent without a look at what the service takes."""


@dataclass(frozen=True, slots=True)
class Part:
    """What came of some pieces: the answers' heads, and an item for each piece."""

    heads: list[Json]
    items: list[Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Inputs to be scored in one or more requests. ``options`` are those of the request's body."""

    inputs: Sequence[Mapping[str, Any]]
    model: str
    errors: OnError
    options: Mapping[str, Any] = field(default_factory=dict)

    def needs_cards(self) -> bool:
        """Whether the service's limits may matter."""
        return len(self.inputs) > SMALL.inputs or any(
            len(given.get("responses") or ()) > SMALL.responses for given in self.inputs
        )

    def chunks(self, cards: Mapping[str, ModelCard]) -> list[list[Piece]]:
        """One request's pieces each. Sets whose members belong together stay so, however large they are."""
        bounds = Bounds().under(cards[self.model]) if self.model in cards else Bounds()
        splits = may_split(cards, self.model, self.options.get("aggregation")) and not self.options.get("partial")
        return list(chunks(pieces(self.inputs, bounds.responses if splits else None), bounds))

    def steps(self, chunk: Sequence[Piece], patience: Patience) -> Steps[Part]:
        """Score a chunk. Where its inputs spoil each other's request and errors are returned, halve it."""
        body = {"model": self.model, "inputs": [piece.body for piece in chunk], **self.options}
        try:
            answer = yield from answered(Request(path="/v1/score", body=body), patience)
        except GuerdonError as problem:
            if self.errors == "raise" or not of_inputs(problem):
                raise blamed(problem, chunk) from problem
            if len(chunk) == 1:
                return Part([], [_failed(chunk[0], blamed(problem, chunk))])
        else:
            return Part([answer], parsed(lambda: list(_items(chunk, answer))))
        half = len(chunk) // 2
        first = yield from self.steps(chunk[:half], patience)
        second = yield from self.steps(chunk[half:], patience)
        return Part(first.heads + second.heads, first.items + second.items)

    def result(self, parts: Sequence[Part]) -> ScoreBatch:
        """The parts in one. Raises the first input's error, unless errors are to be returned."""
        heads = [head for part in parts for head in part.heads]
        items = joined(item for part in parts for item in part.items)
        batch = parsed(lambda: score_batch(self.model, heads, items))
        for result in batch.results:
            if isinstance(result, GuerdonError) and self.errors == "raise":
                raise result
        return batch


def _items(chunk: Sequence[Piece], answer: Json) -> Iterator[Json]:
    for at, (piece, item) in enumerate(zip(chunk, answer["data"], strict=True)):
        yield placed(piece, at, item)


def _failed(piece: Piece, problem: GuerdonError) -> Json:
    told = {"code": problem.code, "message": problem.message, "field": problem.field}
    return {"index": piece.index, "error": told}


@dataclass(frozen=True, slots=True)
class Calls:
    """The other calls: one request each."""

    patience: Patience

    def call(self, path: str, body: Json | None) -> Steps[Any]:
        """Any path's answer, as it is."""
        return answered(Request(path=path, body=body), self.patience)

    def listed(self) -> Steps[list[Json]]:
        """The models as the service lists them; where nobody answers, that is told at once."""
        body = yield from answered(Request(path="/v1/models"), replace(self.patience, retries=ONCE))
        return parsed(lambda: list(body["data"]))

    def cards(self) -> Steps[dict[str, ModelCard]]:
        """The models by name."""
        body = yield from self.call("/v1/models", None)
        return parsed(lambda: {card["id"]: model_card(card) for card in body["data"]})

    def rerank(self, prompt: Prompt, responses: Sequence[Response], **options: Any) -> Steps[RerankResult]:
        """Responses, best first."""
        body = yield from self.call("/v1/rerank", rerank_body(prompt, responses, **options))
        return parsed(lambda: rerank_result(body))

    def compare(
        self, prompt: Prompt, responses: Sequence[Response], pairs: Sequence[Sequence[int]] | None, **options: Any
    ) -> Steps[Comparison]:
        """How responses compare."""
        chosen = None if pairs is None else [list(pair) for pair in pairs]
        body = {"inputs": [one_input(prompt, responses, pairs=chosen)], **options}
        answer = yield from self.call("/v1/compare", body)
        return parsed(lambda: comparison(answer))
