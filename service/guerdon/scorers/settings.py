"""How each kind of scorer is configured."""

from typing import Literal

from pydantic import ByteSize, Field, model_validator

from guerdon.aggregation import Calibration
from guerdon.domain.strict import Strict
from guerdon.engines.settings import Dtype
from guerdon.scorers.relevance import RelevanceRange


class _OnEngine(Strict):
    """What every scorer with a neural network says of its engine."""

    revision: str | None = Field(None, description="the hub's commit; ignored for folders")
    engine: Literal["torch"] = "torch"
    placement: Literal["inline", "process"] = "process"
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    replicas: int = Field(1, ge=1, le=64)
    dtype: Dtype = "float32"
    threads: int | None = Field(None, ge=1, description="CPU threads a replica; by default the cores shared out")
    prefix_cache: ByteSize = Field(
        ByteSize(1 << 30), ge=0, description="keys and values of recent prompts a replica keeps; 0 keeps none"
    )
    compile: bool = Field(False, description="compile the model's layers: a slower start, somewhat faster scores")
    max_tokens: int | None = Field(None, ge=8, description="below what the model reads anyway")
    truncation: Literal["error", "left"] = "error"
    tokenizer: Literal["transformers", "file"] = Field(
        "transformers", description="ids as transformers gives them, or tokenizer.json as it stands"
    )
    template: Literal["chat", "pair", "plain"] | None = None
    chat_template: str | None = Field(None, description="a file that replaces the checkpoint's chat template")


class RewardModelSettings(_OnEngine):
    """A sequence classifier whose raw logit is the score."""

    kind: Literal["reward_model"]
    model: str = Field(description="folder, or hub id")
    adapter: str | None = Field(None, description="a PEFT folder over the model")
    label: str | int | None = Field(None, description="which output is the score, where there are several")
    calibration: Calibration | None = None
    pooled_token: Literal["last", "transformers"] = "last"
    append_eos: bool = False


class HeadEnsembleSettings(_OnEngine):
    """Small heads over one backbone; each is a member ``<scorer>.<head>``."""

    kind: Literal["head_ensemble"]
    backbone: str = Field(description="folder, hub id, or package:NAME/FOLDER")
    sha256: str | None = Field(None, description="of the backbone's weights; checked on load")
    heads: dict[str, str] = Field(min_length=1, description="head files by name")
    calibration: dict[str, Calibration] = Field({}, description="by head; by default what the files carry")

    @model_validator(mode="after")
    def _calibrates_its_own(self) -> "HeadEnsembleSettings":
        strangers = set(self.calibration) - set(self.heads)
        if strangers:
            raise ValueError(f"calibration of unknown heads: {', '.join(sorted(strangers))}")
        return self


class RelevanceSettings(_OnEngine):
    """Relevance, length and repetition (R3)."""

    kind: Literal["relevance"]
    backbone: str = Field(description="folder, hub id, or package:NAME/FOLDER")
    sha256: str | None = None
    dot_range: RelevanceRange = Field(RelevanceRange(), description="of the backbone's dot product")
    calibration: Calibration | None = None


ScorerSettings = RewardModelSettings | HeadEnsembleSettings | RelevanceSettings
