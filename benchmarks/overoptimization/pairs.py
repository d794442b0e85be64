"""What members learn from: pairs of responses, the better one by gold marked, some marks wrong."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.overoptimization.gold import Standard
from benchmarks.overoptimization.policy import Floats, Tokens


@dataclass(frozen=True, slots=True)
class Pairs:
    """Topics [pairs, axes], responses [pairs, 2, length], and which of the two is better by gold [pairs]."""

    topics: Floats
    responses: Tokens
    better: NDArray[np.int64]

    @classmethod
    def drawn(cls, standard: Standard, count: int, chance: np.random.Generator) -> Self:
        """Two responses to each of so many topics."""
        policy = standard.gold.policy
        topics = policy.topics(count, chance)
        responses = np.stack([policy.responses(topic, 2, chance) for topic in topics])
        golds = [standard(topic, pair) for topic, pair in zip(topics, responses, strict=True)]
        return cls(topics, responses, np.argmax(golds, axis=1))

    def flipped(self, share: float, chance: np.random.Generator) -> Self:
        """With exactly this share of the marks wrong."""
        wrong = chance.permutation(len(self.better))[: round(share * len(self.better))]
        better = self.better.copy()
        better[wrong] = 1 - better[wrong]
        return type(self)(self.topics, self.responses, better)
