"""What a tool is, to the judge that uses it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Use = Callable[[str, float], Awaitable[str]]
"""Uses a tool on a text, within so many seconds. Raises ToolFailed."""


class ToolFailed(Exception):
    """A tool gave no answer; the message says why in a few words, and the model is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that is there to be used.

    ``description`` is what the model is told of it. ``version`` changes when its answers do. What a judge says who may
    use a tool that is not ``repeatable`` is not to be cached: the tool may answer otherwise the next time.
    """

    name: str
    description: str
    version: str
    use: Use
    repeatable: bool
