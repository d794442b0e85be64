"""What a configured scorer comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guerdon.aggregation import Calibration
from guerdon.domain.ports import Record, Stage
from guerdon.engines.checkpoint import Checkpoint
from guerdon.engines.settings import EngineSettings
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.vllm_settings import VllmSettings
from guerdon.scorers.scorer import Scorer
from guerdon.scorers.settings import ScorerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a scorer is built from: its engine, the stage of the scorer that it ``needs``, and where its events go."""

    engine: Any
    record: Record
    needed: Stage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerPlan:
    """A scorer that can be built once its engine is there.

    ``heads`` are its outputs with their calibration; ``only_head`` is the one that answers under the scorer's
    own name, -1 where that name means the ensemble of all heads, None where a head must be named.
    ``identity`` is everything that changes its numbers. A ``set_wise`` one is given all responses of an input at once;
    one that is not ``cacheable`` may say something else the next time. ``needs`` names another scorer.
    """

    name: str
    settings: ScorerSettings
    checkpoint: Checkpoint | None
    engine: EngineSettings | VllmSettings
    tokenizer: ModelTokenizer | None
    heads: Mapping[str, Calibration | None]
    only_head: int | None
    uses: frozenset[str]
    identity: tuple[str, ...]
    build: Callable[[Parts], Scorer]
    set_wise: bool = False
    cacheable: bool = True
    needs: str | None = None

    @property
    def max_tokens(self) -> int | None:
        """How much the model reads, where that is known here."""
        return None if self.tokenizer is None else self.tokenizer.max_tokens
