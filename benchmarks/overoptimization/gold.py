"""The reward that is meant: hand-made, so that its value is known for every response."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.overoptimization.policy import Floats, Policy, Tokens
from benchmarks.overoptimization.settings import GoldKind, GoldSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """Token values, how tokens match the prompt, and how neighbours go together, added up.

    ``values`` [tokens]; ``left`` and ``right`` [tokens, rank], a pair of neighbours being worth left . right of its
    tokens. Where it saturates, a token's k-th occurrence counts ``repeat``^(k - 1), and a pair of neighbours the
    product of what its tokens do.
    """

    kind: GoldKind
    settings: GoldSettings
    policy: Policy
    values: Floats
    left: Floats
    right: Floats

    @classmethod
    def drawn(cls, kind: GoldKind, settings: GoldSettings, policy: Policy, chance: np.random.Generator) -> Self:
        """One at random."""
        tokens, rank = policy.settings.tokens, settings.neighbour_rank
        left, right = chance.normal(size=(2, tokens, rank)) * rank**-0.25
        return cls(
            kind=kind,
            settings=settings,
            policy=policy,
            values=chance.normal(size=tokens),
            left=left,
            right=settings.neighbours * right,
        )

    def __call__(self, topic: Floats, responses: Tokens) -> Floats:
        """The gold reward of each response [count, length], in no unit."""
        worth = (self.values + self.settings.match * self.policy.match(topic))[responses]
        pairs = np.einsum("cpr,cpr->cp", self.left[responses[:, :-1]], self.right[responses[:, 1:]])
        if self.kind == "saturating":
            counts = self.settings.repeat ** earlier(responses)
            total: Floats = (counts * worth).sum(1) + (counts[:, :-1] * counts[:, 1:] * pairs).sum(1)
            return total
        runs = (responses[:, 1:] == responses[:, :-1]).sum(1)
        rare = (responses >= self.policy.first_rare).sum(1)
        penalty = self.settings.run_penalty * runs + self.settings.rare_penalty * rare
        total = worth.sum(1) + pairs.sum(1) - penalty
        return total


@dataclass(frozen=True, slots=True)
class Standard:
    """A gold reward in units of its own standard deviation over the policy's responses, from their mean."""

    gold: Gold
    mean: float
    std: float

    @classmethod
    def measured(cls, gold: Gold, chance: np.random.Generator) -> Self:
        """By responses that are used for nothing else."""
        topics = gold.policy.topics(gold.settings.prompts, chance)
        sample = [gold(topic, gold.policy.responses(topic, gold.settings.responses, chance)) for topic in topics]
        return cls(gold, float(np.mean(sample)), float(np.std(sample)))

    def __call__(self, topic: Floats, responses: Tokens) -> Floats:
        """The gold reward of each response [count, length]."""
        return (self.gold(topic, responses) - self.mean) / self.std


def earlier(responses: Tokens) -> Tokens:
    """How often each token [count, length] stands in its response before."""
    length = responses.shape[1]
    before = np.tri(length, k=-1, dtype=bool)
    same: Tokens = ((responses[:, :, None] == responses[:, None, :]) & before).sum(2)
    return same
