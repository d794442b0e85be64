"""What is scored: a conversation so far, and the responses that are judged together."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


OPTIONAL_FIELDS = ("reference", "principle", "seed")

Turns = tuple[Message, ...]
"""Consecutive turns; a response is usually one, of the assistant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Templated:
    """A conversation with its response as a chat template has written it: as text, or as the model's own token ids.

    Control tokens in the text are control tokens. With ``special_tokens`` it gets the one BOS that the model wants,
    whether it came with none, one or two; without, it is read as it is spelt.
    """

    text: str = ""
    token_ids: tuple[int, ...] | None = None
    special_tokens: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A conversation and the responses that are judged together.

    A pointwise scorer is given one response a sample, a set-wise one all of them.
    ``reference`` is a gold answer, ``principle`` a criterion in words; empty means none. ``seed`` is what a judge's
    sampling depends on besides. ``templated`` is what scorers with a chat template read in place of the turns; there
    is one response then.
    """

    messages: Turns
    responses: tuple[Turns, ...]
    reference: str | None = None
    principle: str | None = None
    seed: int | None = None
    templated: Templated | None = None

    def pointwise(self) -> list[Self]:
        """The same conversation once per response."""
        if len(self.responses) == 1:
            return [self]
        return [
            type(self)(
                messages=self.messages,
                responses=(response,),
                reference=self.reference,
                principle=self.principle,
                seed=self.seed,
            )
            for response in self.responses
        ]

    def only(self, uses: Set[str]) -> Self:
        """Without the optional fields that are not among ``uses``, so that they cannot change what is computed."""
        if self.reference is None and self.principle is None and self.seed is None and self.templated is None:
            return self
        return replace(
            self,
            reference=self.reference if "reference" in uses else None,
            principle=self.principle if "principle" in uses else None,
            seed=self.seed if "seed" in uses else None,
            templated=self.templated if "templated" in uses else None,
        )


def user(text: str) -> Turns:
    """A conversation that is one user turn: what a plain ``prompt`` means."""
    return (Message("user", text),)


def assistant(text: str) -> Turns:
    """A response that is one assistant turn: what a plain string means."""
    return (Message("assistant", text),)


def plain_text(turns: Sequence[Message]) -> str:
    """The turns as text for models that know no roles.

    One turn is its content; of several, each starts with its role on a line of its own.
    """
    if len(turns) == 1:
        return turns[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
