"""Which vLLM server runs a model, and how it is asked."""

from typing import Literal

from guerdon.domain.strict import Strict

Dialect = Literal["vllm", "sglang", "openai"]
"""What a server understands beyond OpenAI's API: vLLM's and SGLang's own ways of holding answers to a form."""


class VllmSettings(Strict):
    """Scorers whose settings are equal share one server.

    Without a ``url`` the server is started here: by ``python``, with ``args`` and ``env`` besides ours, for the folder
    ``model``; ``stamp`` is what that folder looked like when it was identified. ``served_as`` is the name that the
    server knows the model by. What a started server prints is appended to the file ``log``.
    ``runner`` is "pooling" for heads, "generate" for text; with ``per_token``, a head's outputs are wanted of every
    token. ``concurrency`` requests are under way at a time, at most
    ``max_waiting`` more wait here.
    """

    model: str
    stamp: str | None = None
    served_as: str
    runner: Literal["generate", "pooling"]
    per_token: bool = False
    url: str | None = None
    server: Dialect = "vllm"
    api_key: str = ""
    python: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    log: str | None = None
    dtype: str = "auto"
    concurrency: int = 64
    max_waiting: int = 4096
    start_timeout_s: float = 600.0
    hung_after_s: float = 30.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
