"""How each kind of scorer is configured."""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Discriminator, Field, Tag, model_validator

from guerdon.aggregation import Calibration
from guerdon.domain.strict import Strict
from guerdon.engines.settings import Dtype
from guerdon.scorers.judges.settings import Judge, JudgeBase
from guerdon.scorers.on_vllm import OnVllm
from guerdon.scorers.process_reward_model import Reduction
from guerdon.scorers.relevance import RelevanceRange


class Reading(Strict):
    """How text becomes tokens."""

    max_tokens: int | None = Field(None, ge=8, description="below what the model reads anyway")
    truncation: Literal["error", "left"] = "error"
    tokenizer: Literal["transformers", "file"] = Field(
        "transformers", description="ids as transformers gives them, or tokenizer.json as it stands"
    )
    template: Literal["chat", "pair", "plain"] | None = None
    chat_template: str | None = Field(None, description="a file that replaces the checkpoint's chat template")


class OnEngine(Reading):
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


class RewardModelSettings(OnEngine):
    """A sequence classifier whose raw logit is the score."""

    kind: Literal["reward_model"]
    model: str = Field(description="folder, or hub id")
    adapter: str | None = Field(None, description="a PEFT folder over the model")
    label: str | int | None = Field(None, description="which output is the score, where there are several")
    calibration: Calibration | None = None
    pooled_token: Literal["last", "transformers"] = "last"
    append_eos: bool = False


class VllmRewardModelSettings(OnVllm, Reading):
    """The same, on a vLLM server."""

    kind: Literal["reward_model"]
    engine: Literal["vllm"]
    label: str | int | None = Field(None, description="which output is the score, where there are several")
    calibration: Calibration | None = None
    append_eos: bool = False


class ProcessRewardModelSettings(OnVllm, Reading):
    """A classifier of steps, on a vLLM server; the defaults are those of Qwen2.5-Math-PRM."""

    kind: Literal["process_reward_model"]
    step_separator: str = Field("\n\n", min_length=1, description="between the steps of a response")
    step_token: str = Field("<extra_0>", description="the control token that the model reads behind each step")
    label: str | int = Field(-1, description="which output speaks for a right step")
    reduce: Reduction = Field("last", description="how the steps' probabilities become one score")
    truncation: Literal["error"] = "error"
    calibration: Calibration | None = None


class HeadEnsembleSettings(OnEngine):
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


class RelevanceSettings(OnEngine):
    """Relevance, length and repetition (R3)."""

    kind: Literal["relevance"]
    backbone: str = Field(description="folder, hub id, or package:NAME/FOLDER")
    sha256: str | None = None
    dot_range: RelevanceRange = Field(RelevanceRange(), description="of the backbone's dot product")
    calibration: Calibration | None = None


def variant(settings: Any) -> str | None:
    """Which of these a scorer's settings are, as they are written or as they were read."""

    def said(name: str) -> Any:
        return settings.get(name) if isinstance(settings, dict) else getattr(settings, name, None)

    kind = said("kind")
    return "reward_model/vllm" if kind == "reward_model" and said("engine") == "vllm" else kind


ScorerSettings = (
    RewardModelSettings
    | VllmRewardModelSettings
    | ProcessRewardModelSettings
    | HeadEnsembleSettings
    | RelevanceSettings
    | JudgeBase
)
KINDS = ("reward_model", "process_reward_model", "head_ensemble", "relevance", "judge")
AnyScorer = Annotated[
    Annotated[RewardModelSettings, Tag("reward_model")]
    | Annotated[VllmRewardModelSettings, Tag("reward_model/vllm")]
    | Annotated[ProcessRewardModelSettings, Tag("process_reward_model")]
    | Annotated[HeadEnsembleSettings, Tag("head_ensemble")]
    | Annotated[RelevanceSettings, Tag("relevance")]
    | Annotated[Judge, Tag("judge")],
    Discriminator(
        variant,
        custom_error_type="scorer_kind",
        custom_error_message=f"`kind` is one of {', '.join(map(repr, KINDS))}",
    ),
]
