"""What recipes share in how they ask."""

from dataclasses import replace
from random import Random

from guerdon.domain.chat import Chat
from guerdon.domain.samples import Turns, plain_text
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced, fenced_turn

_SEEDS = 2**31


def shown_order(count: int, seed: int) -> list[int]:
    """Which response is shown at each place: the same for the same seed, each order as likely as another."""
    # Python promises that seeded draws stay the same from version to version, but not that a shuffle does.
    draws = Random(seed)
    drawn = [draws.random() for _ in range(count)]
    return sorted(range(count), key=drawn.__getitem__)


def written(turns: Turns) -> str:
    """Turns of a caller as text for a prompt; in several, none can pretend that another begins."""
    if len(turns) > 1:
        roles = {turn.role for turn in turns}
        turns = tuple(replace(turn, content=fenced_turn(turn.content, roles)) for turn in turns)
    return fenced(plain_text(turns))


def chat_of(messages: Turns, judging: Judging, seed: int, schema: str) -> Chat:
    """The chat of a vote; held to ``schema`` where answers are held to a form."""
    return Chat(
        messages=messages,
        max_tokens=judging.max_tokens,
        temperature=judging.temperature,
        top_p=judging.top_p,
        seed=seed % _SEEDS,
        schema=schema if judging.structured else "",
    )
