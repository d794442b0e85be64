"""Has a model judge: votes side by side, and what they come to."""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.errors import Invalid, ServiceError, UnparsableVerdict, first_of
from guerdon.domain.events import Judged
from guerdon.domain.ports import Generator, Record, Stage
from guerdon.domain.samples import Message, Sample, assistant, plain_text
from guerdon.domain.scores import Outcome, Score
from guerdon.preferences import win_rates
from guerdon.scorers.judges.guard import GuardSettings, suspicion
from guerdon.scorers.judges.recipe import Recipe, Table, Unparsable, Vote

NOT_SHOWN = "(no answer)"
"""What stands in a prompt for a response that the guard refuses."""
SEEDS = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """How many votes there are, and what becomes of them.

    With a meta reward model (arXiv 2504.02495, section 4), only the ``meta_keep`` votes count that it scores highest.
    """

    votes: int = 1
    min_valid: int = 1
    combine: Literal["mean", "sum"] = "mean"
    seed: int = 0
    meta_keep: int = 1


class Judge:
    """Scores with a generative model. What it wrote, and how votes went, is in each score's report."""

    heads: tuple[str, ...] = ("score",)

    def __init__(
        self,
        recipe: Recipe,
        model: Generator,
        voting: Voting,
        *,
        name: str,
        guard: GuardSettings,
        record: Record,
        meta: Stage | None = None,
    ) -> None:
        self._recipe, self._model, self._voting, self._meta = recipe, model, voting, meta
        self._name, self._guard, self._record = name, guard, record
        self.uses = recipe.uses | {"seed"}

    async def score(self, samples: Sequence[Sample], deadline: float) -> list[Outcome]:
        """One outcome per sample; a sample has one response unless the recipe is set-wise."""
        return list(await asyncio.gather(*(self._outcome(sample, deadline) for sample in samples)))

    async def _outcome(self, sample: Sample, deadline: float) -> Outcome:
        try:
            return await self._judged(sample, deadline)
        except ServiceError as error:
            return error

    async def _judged(self, sample: Sample, deadline: float) -> Score:
        count, least = len(sample.responses), self._recipe.least
        if count < least:
            raise Invalid(f"{self._name} compares responses: it needs {least} at least", field="responses")
        refused = self._refused(sample)
        shown = _shown(sample, refused, least)
        ballots: list[_Ballot] = []
        if len(shown.responses) >= least and len(refused) < count:
            ballots = await self._ballots(shown, deadline)
        valid = [ballot for ballot in ballots if ballot.vote is not None]
        self._record(Judged(self._name, len(ballots), len(valid), tuple(refused.values())))
        if ballots and len(valid) < self._voting.min_valid:
            told = next(ballot.fault for ballot in ballots if ballot.vote is None)
            raise UnparsableVerdict(f"{self._name}: {len(valid)} of {len(ballots)} votes hold a verdict: {told}")
        votes = [ballot.vote for ballot in await self._counted(valid, deadline) if ballot.vote]
        if not ballots:  # there was nothing to ask: as if all votes that count said so
            votes = [_walkover(len(shown.responses))] * (self._voting.votes if self._meta is None else self._kept)
        full = [_with_refused(vote, count, refused, self._recipe.floor) for vote in votes]
        return self._score(full, ballots, len(valid), refused)

    @property
    def _kept(self) -> int:
        """So many votes count at most, with a meta reward model."""
        return min(self._voting.meta_keep, self._voting.votes)

    def _refused(self, sample: Sample) -> dict[int, str]:
        """The responses that the model is not shown, and why."""
        wanted = self._guard.model_dump()
        found: dict[int, str] = {}
        for index, response in enumerate(sample.responses):
            reason = suspicion(plain_text(response), sample.reference)
            if reason is not None and wanted[reason] == "refuse":
                found[index] = reason
        return found

    async def _ballots(self, sample: Sample, deadline: float) -> "list[_Ballot]":
        """Every vote, all of them under way at once. Raises the first ServiceError, and calls off the others."""
        seeds = _seeds(sample, self._voting)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ballot(sample, seed, deadline)) for seed in seeds]
        except* ServiceError as errors:
            raise first_of(errors) from None
        return [task.result() for task in tasks]

    async def _ballot(self, sample: Sample, seed: int, deadline: float) -> "_Ballot":
        ballot = _Ballot()

        async def ask(chat: Chat) -> Generation:
            generation = await self._model.generate(chat, deadline)
            ballot.asked(chat, generation)
            return generation

        try:
            ballot.vote = await self._recipe.vote(sample, seed, ask)
        except Unparsable as error:
            ballot.fault = str(error)
        return ballot

    async def _counted(self, valid: "list[_Ballot]", deadline: float) -> "list[_Ballot]":
        """The votes that count: all, or those that the meta reward model scores highest, in their order."""
        if self._meta is None or len(valid) <= self._voting.meta_keep:
            return valid
        outcomes = await self._meta.score([ballot.conversation() for ballot in valid], deadline)
        for ballot, outcome in zip(valid, outcomes, strict=True):
            if isinstance(outcome, ServiceError):
                raise type(outcome)(f"{self._name}: its meta reward model: {outcome.message}")
            ballot.meta = outcome.values[0][0]
        best = sorted(valid, key=lambda ballot: -ballot.meta)[: self._voting.meta_keep]
        return [ballot for ballot in valid if any(ballot is one for one in best)]

    def _score(self, votes: Sequence[Vote], ballots: "Sequence[_Ballot]", valid: int, refused: dict[int, str]) -> Score:
        sums = [math.fsum(vote.scores[index] for vote in votes) for index in range(len(votes[0].scores))]
        means = [total / len(votes) for total in sums]
        report: dict[str, Any] = {
            "votes": len(ballots),
            "valid": valid,
            "kept": len(votes) if ballots else 0,
            "prompt_tokens": sum(ballot.prompt_tokens for ballot in ballots),
            "completion_tokens": sum(ballot.completion_tokens for ballot in ballots),
            "sum": sums,
            "mean": means,
        }
        if refused:
            report["refused"] = [{"response": index, "reason": reason} for index, reason in refused.items()]
        if tables := [vote.preferences for vote in votes if vote.preferences is not None]:
            report["preferences"] = _mean_table(tables)
        report["ballots"] = [ballot.told() for ballot in ballots]
        return Score(
            values=tuple((value,) for value in (means if self._voting.combine == "mean" else sums)),
            truncated=(False,) * len(means),
            tokens=report["prompt_tokens"] + report["completion_tokens"],
            report=report,
        )


@dataclass(slots=True)
class _Ballot:
    """One vote as it is cast: what was asked and written, and what could be read of it."""

    vote: Vote | None = None
    fault: str = ""
    chat: Chat | None = None
    text: str = ""
    meta: float = math.nan
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def asked(self, chat: Chat, generation: Generation) -> None:
        """The model has answered."""
        self.chat, self.text = chat, generation.text
        self.prompt_tokens += generation.prompt_tokens
        self.completion_tokens += generation.completion_tokens

    def conversation(self) -> Sample:
        """What the model was last asked, with what it wrote: what a meta reward model scores."""
        turns: tuple[Message, ...] = () if self.chat is None else self.chat.messages
        return Sample(messages=turns, responses=(assistant(self.text),))

    def told(self) -> dict[str, Any]:
        """For the report."""
        if self.vote is None:
            return {"error": self.fault, "rationale": self.text}
        meta = {} if math.isnan(self.meta) else {"meta": self.meta}
        return {**self.vote.more, **meta, "scores": list(self.vote.scores), "rationale": self.vote.rationale}


def _seeds(sample: Sample, voting: Voting) -> list[int]:
    """A seed for each vote, from the configured seed and all that the sample says: equal questions, equal votes."""
    content = orjson.dumps(
        (voting.seed, sample.seed, sample.messages, sample.responses, sample.reference, sample.principle)
    )
    return [
        int.from_bytes(hashlib.sha256(content + number.to_bytes(4)).digest()[:4]) % SEEDS
        for number in range(voting.votes)
    ]


def _shown(sample: Sample, refused: dict[int, str], least: int) -> Sample:
    """What the recipe is given: refused responses left out of comparisons, elsewhere in their place but not shown."""
    if not refused:
        return sample
    if least > 1:
        kept = tuple(response for index, response in enumerate(sample.responses) if index not in refused)
        return replace(sample, responses=kept)
    hidden = assistant(NOT_SHOWN)
    return replace(sample, responses=tuple(hidden if i in refused else r for i, r in enumerate(sample.responses)))


def _walkover(shown: int) -> Vote:
    """The vote where there is nothing to ask the model: at most one response was not refused."""
    return Vote(scores=(1.0,) * shown, preferences=((0.5,) * shown,) * shown)


def _with_refused(vote: Vote, count: int, refused: dict[int, str], floor: float) -> Vote:
    """The vote with refused responses at the floor; in comparisons, each loses to all that were compared.

    Scores without preferences are places from 1 to 0 among those compared; they become places among all.
    """
    if not refused:
        return vote
    if len(vote.scores) == count:
        scores = tuple(floor if index in refused else score for index, score in enumerate(vote.scores))
        return replace(vote, scores=scores, preferences=None)
    kept = [index for index in range(count) if index not in refused]
    if vote.preferences is None:
        places = [(len(refused) + score * (len(kept) - 1)) / (count - 1) for score in vote.scores]
        found = dict(zip(kept, places, strict=True))
        return replace(vote, scores=tuple(found.get(index, floor) for index in range(count)))
    table = [
        [0.5 if (i in refused) == (j in refused) else float(j in refused) for j in range(count)] for i in range(count)
    ]
    for row, i in enumerate(kept):
        for column, j in enumerate(kept):
            table[i][j] = vote.preferences[row][column]
    rates = win_rates(table) if count > 1 else [floor]
    scores = tuple(floor if index in refused else rate for index, rate in enumerate(rates))
    return replace(vote, scores=scores, preferences=tuple(map(tuple, table)))


def _mean_table(tables: Sequence[Table]) -> list[list[float]]:
    rows = range(len(tables[0]))
    return [[math.fsum(table[i][j] for table in tables) / len(tables) for j in rows] for i in rows]
