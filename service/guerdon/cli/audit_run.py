"""Has an audit's asks answered: each row as it is, then all that is made of it."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from guerdon.cli.audit_figures import Answer
from guerdon.cli.audit_probes import Ask, Battery, Extent, Question, as_it_is, asks_of, question_of, understanding
from guerdon.cli.job import Count
from guerdon.cli.job import understanding as rows_understanding
from guerdon.cli.options import Asking
from guerdon.cli.pipeline import Result, results
from guerdon.cli.progress import Watching, watching
from guerdon.cli.rows import Asked, Json, Row, Understand
from guerdon.cli.scoring import Models, Request, Scoring, Steadfast
from guerdon.domain.errors import Invalid, UnusableField

REFUSALS = (Invalid.code, UnusableField.code)
"""What a scorer says of an input that is not for it: a single response where it compares, or no reference."""


@dataclass(slots=True)
class Left:
    """What the figures leave out, and what was not as it should be."""

    rows: Count = field(default_factory=Count)
    without_pairs: int = 0
    without_reference: int = 0
    asks: int = 0
    failed: list[tuple[Ask, Json]] = field(default_factory=list)
    truncated: int = 0
    degraded: int = 0
    never_alone: bool = False

    def forgive_alone(self) -> None:
        """That each response by itself was refused says that the scorer compares: this is no error."""
        alone = [(ask, error) for ask, error in self.failed if ask.kind == "alone"]
        if alone and all(error["code"] in REFUSALS for _, error in alone):
            self.never_alone = True
            self.failed = [(ask, error) for ask, error in self.failed if ask.kind != "alone"]


@dataclass(frozen=True, slots=True)
class Answers:
    """To the rows as they are, and to all that was made of them."""

    base: Sequence[Answer]
    others: Sequence[Answer]
    left: Left


async def answers_of(rows: Sequence[Row], asking: Asking, battery: Battery, extent: Extent) -> Answers:
    """Every answer there is. Raises CannotRun where the service goes away."""
    left = Left()
    async with asking.place.opened(asking.request) as models:
        with watching(len(rows), 0, to_terminal=False) as progress:
            base = [answer async for answer in _as_they_are(rows, models, asking, left, progress)]
        asks = list(asks_of([answer.ask.question for answer in base], battery, extent))
        left.asks = len(asks)
        with watching(len(asks), 0, to_terminal=False, what="inputs") as progress:
            others = [answer async for answer in _of_all(asks, models, asking, left, progress)]
    left.forgive_alone()
    return Answers(base, others, left)


async def _as_they_are(
    rows: Sequence[Row], scoring: Scoring, asking: Asking, left: Left, progress: Watching
) -> AsyncIterator[Answer]:
    """The rows that can be rewarded and have a pair to compare."""
    read, questions = rows_understanding(asking), dict[int, Question]()

    def understand(row: Row) -> Asked:
        asked = read(row)
        questions[row.number] = question_of(asked, row.number, row.columns, asking.options.ignore or ())
        return asked

    async with _results(iter(rows), scoring, asking, understand) as stream:
        async for result in stream:
            question = questions.get(result.row.number)
            if question is not None and _lacks_reference(question, result.item):
                left.rows.rows += 1
                left.without_reference += 1
            else:
                left.rows.add(result.item)
            progress.advance(1, int("error" in result.item))
            if question is None or "error" in result.item:
                continue
            left.without_pairs += not question.pairs
            if question.pairs:
                left.truncated += any(result.item.get("truncated") or ())
                yield Answer(as_it_is(question), result.item["rewards"])


async def _of_all(
    asks: Sequence[Ask], models: Models, asking: Asking, left: Left, progress: Watching
) -> AsyncIterator[Answer]:
    """Those that are asked alike go together."""
    for fresh, seed in dict.fromkeys((ask.fresh, ask.seed) for ask in asks):
        rows = (Row(at, {}) for at, ask in enumerate(asks) if (ask.fresh, ask.seed) == (fresh, seed))
        request = _as(asking.request, fresh=fresh, seed=seed)
        async with _results(rows, models.asked_as(request), asking, understanding(asks)) as stream:
            async for result in stream:
                ask, item = asks[result.row.number], result.item
                progress.advance(1, int("error" in item))
                if "error" in item:
                    left.failed.append((ask, item["error"]))
                    continue
                left.truncated += any(item.get("truncated") or ())
                left.degraded += bool(item.get("member_errors"))
                yield Answer(ask, item["rewards"], _refused(item))


@contextlib.asynccontextmanager
async def _results(
    rows: Iterator[Row], scoring: Scoring, asking: Asking, understand: Understand
) -> AsyncIterator[AsyncIterator[Result]]:
    """The results one by one, in the order of the rows."""
    stream = results(rows, Steadfast(scoring), understand, batch=asking.batch, in_flight=asking.options.in_flight)
    async with contextlib.aclosing(stream):
        yield (result async for chunk in stream for result in chunk)


def _as(request: Request, *, fresh: bool, seed: int | None) -> Request:
    return replace(request, cache="off" if fresh else request.cache, seed=seed)


def _refused(item: Json) -> frozenset[int]:
    """The responses that a guard kept from every judge that speaks of them.

    Where a guard left nothing to compare, no vote was asked for, and no model was shown any of them.
    """
    kept, shown = set[int](), set[int]()
    for report in chain.from_iterable((item.get("judges") or {}).values()):
        responses = set(report["responses"])
        refused = {one["response"] for one in report.get("refused") or ()}
        refused = responses if refused and not report["votes"] else refused
        kept |= refused
        shown |= responses - refused
    return frozenset(kept - shown)


def _lacks_reference(question: Question, item: Json) -> bool:
    """Whether the scorer cannot do without a reference, and the row has none."""
    error = item.get("error")
    if error is None or "reference" in question.conversation:
        return False
    return error["code"] in REFUSALS and "reference" in f"{error.get('field')} {error['message']}"
