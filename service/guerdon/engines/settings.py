"""What one engine loads, and how."""

from typing import Literal

from guerdon.domain.strict import Strict

Dtype = Literal["float32", "bfloat16", "float16"]


class EngineSettings(Strict):
    """Scorers whose engine settings are equal share one engine.

    ``adapters`` maps a name to a PEFT folder; they share the base model's weights.
    Where only adapters are served (``serves_base`` off), the base may lack a score head. ``pooled_token`` is
    ``last`` (the last token, by position) or ``transformers`` (the last token that is not the pad token,
    as transformers' own classes look for it; for models that were trained with that rule).
    ``replica`` numbers the engine's copies: `device` auto or cuda spreads them over the GPUs.
    """

    folder: str
    task: Literal["classify", "embed"] = "classify"
    dtype: Dtype = "float32"
    device: str = "auto"
    adapters: tuple[tuple[str, str], ...] = ()
    serves_base: bool = True
    pooled_token: Literal["last", "transformers"] = "last"
    threads: int | None = None
    replica: int = 0
