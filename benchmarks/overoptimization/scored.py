"""One condition in one world, from labels to scores: members are trained, served, and asked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.overoptimization.gold import Gold, Standard
from benchmarks.overoptimization.members import Sequences, accuracy, scores_alone, train_all, write_tokenizer
from benchmarks.overoptimization.pairs import Pairs
from benchmarks.overoptimization.policy import Floats, Policy, Tokens, prompt_text, response_text
from benchmarks.overoptimization.served import Served, serving
from benchmarks.overoptimization.settings import Condition, Setup
from guerdon.domain.samples import assistant, user

CHECKED = 8
"""Served scores that are compared with transformers' own, of each member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the members said, in their own units, and what is so.

    ``raw`` [prompts, responses, members]; ``gold`` and ``looped`` [prompts, responses]; ``calibration_raw``
    [responses, members] of the policy's responses to other prompts; ``accuracy`` [members] on pairs that nobody
    was trained on, rightly labelled; ``off_by`` is the largest difference to transformers on a few responses;
    ``train_s`` and ``score_s`` are what that took.
    """

    raw: Floats
    gold: Floats
    looped: NDArray[np.bool_]
    calibration_raw: Floats
    accuracy: Floats
    off_by: Floats
    train_s: Floats
    score_s: Floats

    def save(self, file: Path) -> None:
        """Keep it, for a run that is stopped."""
        np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """What was saved."""
        with np.load(file) as kept:
            return cls(**{field.name: kept[field.name] for field in fields(cls)})


class World:
    """A policy, its prompts and its responses, all by one seed."""

    def __init__(self, setup: Setup, number: int) -> None:
        self._setup, self._number = setup, number
        self.policy = Policy(setup.policy, self._chance("policy"))
        chance = self._chance("responses")
        self.topics = self.policy.topics(setup.prompts, chance)
        self.responses = [self.policy.responses(topic, setup.responses, chance) for topic in self.topics]

    def scored(self, condition: Condition, work: Path) -> Scored:
        """Train and serve a condition's members, and have them score everything."""
        standard = self.standard(condition)
        began = time.monotonic()
        folders, accuracies = self._trained(condition, standard, work)
        trained = time.monotonic()
        topics, responses = self.topics[: condition.prompts], self.responses[: condition.prompts]
        levels = self._setup.policy.levels
        with serving(folders, work) as served:
            calibration = self._calibration(served)
            started = time.monotonic()
            raw = np.stack([served.scores(t, levels, r) for t, r in zip(topics, responses, strict=True)])
            seconds = time.monotonic() - started
        return Scored(
            raw=raw,
            gold=np.stack([standard(t, r) for t, r in zip(topics, responses, strict=True)]),
            looped=np.stack([self.policy.looped(r) for r in responses]),
            calibration_raw=calibration,
            accuracy=np.array(accuracies),
            off_by=np.array(self._off_by(folders, topics[0], responses[0][:CHECKED], raw[0, :CHECKED])),
            train_s=np.array(trained - began),
            score_s=np.array(seconds),
        )

    def standard(self, condition: Condition) -> Standard:
        """The gold reward, in units of its standard deviation."""
        gold = Gold.drawn(condition.gold, self._setup.gold, self.policy, self._chance("gold"))
        return Standard.measured(gold, self._chance("standard"))

    def _trained(self, condition: Condition, standard: Standard, work: Path) -> tuple[list[Path], list[float]]:
        setup = self._setup
        pairs = Pairs.drawn(standard, setup.pairs, self._chance("pairs"))
        pairs = pairs.flipped(condition.flipped, self._chance("flips"))
        held_out = Pairs.drawn(standard, setup.held_out, self._chance("held out"))
        folders = [work / f"member{index}" for index in range(setup.members)]
        tokenizers = [write_tokenizer(folder, setup.policy) for folder in folders]
        data, unseen = (Sequences.of(which, setup.policy, tokenizers[0]) for which in (pairs, held_out))
        models = train_all(folders, setup.policy, setup.training, condition.start, self._number, data)
        return folders, [accuracy(model, unseen) for model in models]

    def _calibration(self, served: Served) -> Floats:
        setup, chance = self._setup, self._chance("calibration")
        topics = self.policy.topics(setup.calibration_prompts, chance)
        found = []
        for topic in topics:
            responses = self.policy.responses(topic, setup.calibration_responses, chance)
            found.append(served.scores(topic, setup.policy.levels, responses))
        return np.concatenate(found)

    def _off_by(self, folders: Sequence[Path], topic: Floats, responses: Tokens, served: Floats) -> float:
        """The largest difference of served scores [responses, members] to transformers' own."""
        tokenizer = write_tokenizer(folders[0], self._setup.policy)
        prompt = user(prompt_text(topic, self._setup.policy.levels))
        ids = [tokenizer.conversation(prompt, assistant(response_text(one))).ids for one in responses]
        alone = np.array([scores_alone(folder, ids) for folder in folders]).T
        return float(np.abs(alone - served).max())

    def _chance(self, what: str) -> np.random.Generator:
        """Random numbers of this world for one purpose: one part's do not change with another's."""
        return np.random.default_rng([self._number, *what.encode()])
