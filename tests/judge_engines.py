"""Generative models that say what a test tells them to."""

from collections.abc import Callable, Mapping, Sequence

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.errors import ServiceError

Said = str | Generation | ServiceError


class Scripted:
    """Says one thing after the other, and remembers what it was asked. Asked as a recipe asks, or as an engine."""

    def __init__(self, answers: Sequence[Said]) -> None:
        self._answers = iter(answers)
        self.chats: list[Chat] = []

    async def __call__(self, chat: Chat) -> Generation:
        self.chats.append(chat)
        return generation(next(self._answers))

    async def generate(self, chat: Chat, deadline: float) -> Generation:
        return await self(chat)


class Saying(Scripted):
    """Says what a function makes of each chat."""

    def __init__(self, answer: Callable[[Chat], Said]) -> None:
        super().__init__(())
        self._answer = answer

    async def __call__(self, chat: Chat) -> Generation:
        self.chats.append(chat)
        return generation(self._answer(chat))


class Always(Saying):
    """Says the same to everything, its first token as probable as it is told."""

    def __init__(self, text: str, first: Mapping[str, float] | None = None) -> None:
        super().__init__(lambda chat: Generation(text=text, first=first or {}, prompt_tokens=7, completion_tokens=3))


def generation(said: Said) -> Generation:
    """What was said, as an engine tells it."""
    if isinstance(said, ServiceError):
        raise said
    return Generation(text=said, prompt_tokens=7, completion_tokens=3) if isinstance(said, str) else said
