"""A made-up language, and who writes it: prompts that are topics, responses that are words."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.overoptimization.settings import PolicySettings

Floats = NDArray[np.float64]
Tokens = NDArray[np.int64]


class Policy:
    """Draws topics and responses. ``features`` [tokens, axes] are what each token is about."""

    def __init__(self, settings: PolicySettings, chance: np.random.Generator) -> None:
        self.settings = settings
        self.features: Floats = chance.normal(size=(settings.tokens, settings.axes))
        self._frequency = -settings.zipf * np.log(np.arange(1, settings.tokens + 1))

    def topics(self, count: int, chance: np.random.Generator) -> Floats:
        """Topics [count, axes], each coordinate one of the levels."""
        return chance.choice(self.settings.levels, size=(count, self.settings.axes))

    def match(self, topic: Floats) -> Floats:
        """How much each token is about the topic [tokens]."""
        return self.features @ topic / np.sqrt(self.settings.axes)

    def responses(self, topic: Floats, count: int, chance: np.random.Generator) -> Tokens:
        """Responses [count, length] to a topic."""
        logits = self._frequency + self.settings.tilt * self.match(topic)
        shares = np.cumsum(np.exp(logits - logits.max()))
        drawn = np.searchsorted(shares, chance.random((count, self.settings.length)) * shares[-1], side="right")
        for index in np.flatnonzero(chance.random(count) < self.settings.loops):
            self._loop(drawn[index], chance)
        return drawn

    def looped(self, responses: Tokens) -> NDArray[np.bool_]:
        """Which responses [count] hold one of the rarest tokens so often in a row as a loop does."""
        least = self.settings.loop_least
        windows = np.lib.stride_tricks.sliding_window_view(responses, least, axis=1)
        alike = (windows == windows[:, :, :1]).all(2)
        found: NDArray[np.bool_] = (alike & (windows[:, :, 0] >= self.first_rare)).any(1)
        return found

    @property
    def first_rare(self) -> int:
        """The most frequent of the rarest tokens."""
        return self.settings.tokens - self.settings.rarest

    def _loop(self, response: Tokens, chance: np.random.Generator) -> None:
        """Write a rare token over a part of the response."""
        one = self.settings
        wanted = one.loop_least * (1 - chance.random()) ** (-1 / one.loop_tail)
        length = int(min(wanted, one.loop_most))
        start = chance.integers(one.length - length + 1)
        response[start : start + length] = chance.integers(self.first_rare, one.tokens)


def prompt_text(topic: Floats, levels: tuple[float, ...]) -> str:
    """A topic in words, one a coordinate: a model that reads them knows the topic exactly."""
    words = [topic_word(axis, levels.index(value)) for axis, value in enumerate(topic.tolist())]
    return " ".join(words) + " "


def response_text(response: Tokens) -> str:
    """A response in words."""
    return " ".join(map(word, response.tolist()))


def word(token: int) -> str:
    """The word of a response's token."""
    return f"w{token}"


def topic_word(axis: int, level: int) -> str:
    """The word of one of a topic's coordinates."""
    return f"t{axis}.{level}"
