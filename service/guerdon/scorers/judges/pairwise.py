"""A judge that compares responses two by two, each pair in both orders."""

import asyncio
from collections.abc import Coroutine, Iterable
from itertools import combinations
from random import Random
from statistics import fmean
from typing import Any, Literal, TypeVar

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, plain_text
from guerdon.domain.strict import Strict
from guerdon.preferences import win_rates
from guerdon.scorers.judges.asking import written
from guerdon.scorers.judges.choices import Verdict, chat, mass, probabilities
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Vote

T = TypeVar("T")

_CHOICES = ("A", "B")
_MOST_IN_ROUND_ROBIN = 64
_TIE = 1e-9
"""So far from 0.5 is a comparison still a tie: the mean over both orders is rounded."""


class PairwiseSettings(Strict):
    """What is pairwise comparison's own.

    ``all`` compares every pair, and a response's score is its win rate. ``sort`` compares as merge sort does, n log n
    pairs, and the score is the place, from 1 for the best to 0; equal responses, and those that tie, share places.
    """

    tournament: Literal["all", "sort"] = "all"
    verdict: Verdict = "logits"


class Pairwise:
    """Scores responses by a tournament of comparisons. A model that always prefers the first changes nothing."""

    uses = frozenset({"principle"})
    set_wise = True
    least = 2
    floor = 0.0

    def __init__(self, settings: PairwiseSettings, judging: Judging, prompt: Prompt) -> None:
        self._settings, self._judging, self._prompt = settings, judging, prompt

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts."""
        settings, judging = self._settings.model_dump_json(), self._judging.model_dump_json()
        return ("pairwise/2", self._prompt.source, settings, judging)

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """One tournament. Raises Invalid where a round robin would have too many pairs, and as a recipe does."""
        order = list(range(len(sample.responses)))
        Random(seed).shuffle(order)
        contest = _Contest(self, sample, seed, ask)
        if self._settings.tournament == "sort":
            groups = await contest.sorted(order)
            return Vote(
                scores=_by_place(groups), more={**contest.told(), "order": [one for group in groups for one in group]}
            )
        if len(order) > _MOST_IN_ROUND_ROBIN:
            problem = f"a round robin is for at most {_MOST_IN_ROUND_ROBIN} responses; `tournament: sort` takes more"
            raise Invalid(problem, field="responses")
        table = await contest.round_robin(order)
        return Vote(scores=tuple(win_rates(table)), preferences=table, more=contest.told())

    async def prefers_first(
        self, sample: Sample, first: int, second: int, seed: int, ask: Ask
    ) -> tuple[float, float | None]:
        """The probability that the response shown as A is the better one, in this one order; with logits, its mass."""
        texts = [written(sample.responses[place]) for place in (first, second)]
        turns = self._prompt.turns(
            {
                "principle": fenced((sample.principle or "").strip()),
                "question": written(sample.messages),
                "first": texts[0],
                "second": texts[1],
            }
        )
        own = Random(f"{seed}/{first}/{second}").getrandbits(31)
        verdict = self._settings.verdict
        answer = await ask(chat(turns, _CHOICES, verdict, self._judging, own))
        probability = probabilities(answer, _CHOICES, verdict, self._judging)[0]
        return probability, mass(answer.first, _CHOICES) if verdict == "logits" else None


class _Contest:
    """The comparisons of one vote."""

    def __init__(self, recipe: Pairwise, sample: Sample, seed: int, ask: Ask) -> None:
        self._recipe, self._sample, self._seed, self._ask = recipe, sample, seed, ask
        self._biases: list[float] = []
        self._masses: list[float] = []
        self._ties: set[frozenset[int]] = set()

    def told(self) -> dict[str, Any]:
        """How many pairs were compared, how far their two orders lay apart in the mean, and the least mass."""
        bias = fmean(self._biases) if self._biases else 0.0
        masses = {"mass": min(self._masses)} if self._masses else {}
        return {"comparisons": len(self._biases), "position_bias": bias, **masses}

    async def compared(self, first: int, second: int) -> float:
        """The probability that one response is better than another: the mean over both orders."""
        answers = await _together(
            self._recipe.prefers_first(self._sample, *pair, self._seed, self._ask)
            for pair in ((first, second), (second, first))
        )
        as_shown, reversed_ = (probability for probability, _ in answers)
        self._biases.append(abs(as_shown - (1 - reversed_)))
        self._masses.extend(held for _, held in answers if held is not None)
        return (1 + as_shown - reversed_) / 2  # exactly 0.5 where both orders say the same of A

    async def round_robin(self, order: list[int]) -> tuple[tuple[float, ...], ...]:
        """How probably each response is better than each other; 0.5 on the diagonal."""
        pairs = list(combinations(order, 2))
        wins = await _together(self.compared(*pair) for pair in pairs)
        table = [[0.5] * len(order) for _ in order]
        for (first, second), win in zip(pairs, wins, strict=True):
            table[first][second], table[second][first] = win, 1 - win
        return tuple(map(tuple, table))

    async def sorted(self, order: list[int]) -> list[list[int]]:
        """The responses, the best first, those that share their places together. Of equal ones, one is compared."""
        equal: dict[str, list[int]] = {}
        for one in order:
            equal.setdefault(plain_text(self._sample.responses[one]), []).append(one)
        twins = {same[0]: same for same in equal.values()}
        groups: list[list[int]] = []
        last: int | None = None
        for one in await self.ranked(list(twins)):
            if last is not None and frozenset((last, one)) in self._ties:  # neighbours have always been compared
                groups[-1].extend(twins[one])
            else:
                groups.append(list(twins[one]))
            last = one
        return groups

    async def ranked(self, order: list[int]) -> list[int]:
        """The responses, the best first, by merge sort; those that neither wins against stay in the order given."""
        if len(order) < 2:
            return order
        middle = len(order) // 2
        left, right = await _together(self.ranked(half) for half in (order[:middle], order[middle:]))
        return await self._merged(left, right)

    async def _merged(self, left: list[int], right: list[int]) -> list[int]:
        merged: list[int] = []
        while left and right:
            win = await self.compared(left[0], right[0])
            if abs(win - 0.5) <= _TIE:
                self._ties.add(frozenset((left[0], right[0])))
            better = left if win >= 0.5 - _TIE else right
            merged.append(better.pop(0))
        return merged + left + right


def _by_place(groups: list[list[int]]) -> tuple[float, ...]:
    """From 1 for the first place to 0 for the last; who share places get the mean of these places' scores."""
    last = sum(map(len, groups)) - 1
    scores: dict[int, float] = {}
    for group in groups:
        place = len(scores) + (len(group) - 1) / 2
        scores |= dict.fromkeys(group, (last - place) / last)
    return tuple(scores[response] for response in range(last + 1))


async def _together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Concurrently; the first to fail ends the others, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asked]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
