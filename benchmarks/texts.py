"""What is sent: prompts with responses of known lengths, drawn anew for every round."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.models import WORDS


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and the responses to it. Lengths are in tokens, of which a word is one."""

    prompt: str
    responses: tuple[str, ...]
    prompt_tokens: int
    response_tokens: tuple[int, ...]

    @property
    def texts(self) -> list[str]:
        """Prompt and response in one piece, for servers that know no pairs."""
        return [f"{self.prompt} {response}" for response in self.responses]

    @property
    def tokens(self) -> int:
        """As if nothing were shared."""
        return self.prompt_tokens * len(self.responses) + sum(self.response_tokens)

    def alone(self) -> "list[Group]":
        """Each response with the prompt as a group of its own."""
        return [
            Group(self.prompt, (response,), self.prompt_tokens, (tokens,))
            for response, tokens in zip(self.responses, self.response_tokens, strict=True)
        ]

    def first(self, responses: int) -> "Group":
        """With no more than so many responses."""
        return Group(self.prompt, self.responses[:responses], self.prompt_tokens, self.response_tokens[:responses])

    def with_more(self, other: "Group") -> "Group":
        """The responses of both, which have the prompt in common."""
        responses, lengths = self.responses + other.responses, self.response_tokens + other.response_tokens
        return Group(self.prompt, responses, self.prompt_tokens, lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShape:
    """How groups are drawn: response lengths are uniform between ``shortest`` and ``longest``."""

    prompt: int
    responses: int
    shortest: int
    longest: int


def draw(shape: GroupShape, count: int, seed: str) -> list[Group]:
    """``count`` groups. The same seed draws the same groups, and more of them begin with the fewer."""
    chance = random.Random(seed)
    groups = []
    for _ in range(count):
        lengths = tuple(chance.randint(shape.shortest, shape.longest) for _ in range(shape.responses))
        prompt = _words(chance, shape.prompt)
        groups.append(Group(prompt, tuple(_words(chance, length) for length in lengths), shape.prompt, lengths))
    return groups


def singles(groups: Sequence[Group]) -> list[Group]:
    """All responses one by one, group after group."""
    return [single for group in groups for single in group.alone()]


def _words(chance: random.Random, count: int) -> str:
    return " ".join(f"w{chance.randrange(WORDS)}" for _ in range(count))
