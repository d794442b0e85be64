"""What one engine loads, and how."""

from typing import Literal

from guerdon.domain.strict import Strict

Dtype = Literal["float32", "bfloat16", "float16"]


class AdapterSettings(Strict):
    """A LoRA adapter: its name in queries, its folder, and what that looked like (see `checkpoint.stamp`)."""

    name: str
    folder: str
    stamp: str | None = None


class EngineSettings(Strict):
    """Scorers whose engine settings are equal share one engine.

    ``stamp`` is what the folder looked like when it was identified: an engine loads nothing else under that identity
    (None: whatever is there).
    ``labels`` is the number of outputs of the score head. ``adapters`` share the base model's weights.
    Where only adapters are served (``serves_base`` off), the base may lack a score head. ``pooled_token`` is
    ``last`` (the last token, by position) or ``transformers`` (the last token that is not the pad token,
    as transformers' own classes look for it; for models that were trained with that rule).
    ``prefix_cache_bytes`` of keys and values of recent sequences are kept, where prefixes are shared.
    ``compile`` has torch compile the model's layers, which takes a C++ compiler on a CPU, and time at the start.
    ``replica`` numbers the engine's copies: `device` auto or cuda spreads them over the GPUs.
    """

    folder: str
    stamp: str | None = None
    task: Literal["classify", "embed"] = "classify"
    dtype: Dtype = "float32"
    device: str = "auto"
    labels: int | None = None
    adapters: tuple[AdapterSettings, ...] = ()
    serves_base: bool = True
    pooled_token: Literal["last", "transformers"] = "last"
    threads: int | None = None
    prefix_cache_bytes: int = 0
    compile: bool = False
    replica: int = 0
