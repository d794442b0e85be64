"""How each recipe of a judge is configured."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from guerdon.aggregation import Calibration
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.grm import GrmSettings
from guerdon.scorers.judges.guard import GuardSettings
from guerdon.scorers.judges.pairwise import PairwiseSettings
from guerdon.scorers.judges.principle import PrincipleSettings
from guerdon.scorers.judges.rubric import RubricSettings
from guerdon.scorers.judges.tool import ToolSettings
from guerdon.scorers.judges.verifier import VerifierSettings
from guerdon.scorers.on_vllm import OnVllm

WITH_META = ("grm", "principle", "rubric")
"""Recipes whose vote is one answer of the model, with its reasons."""


class JudgeBase(Judging, OnVllm):
    """What every judge says of itself."""

    kind: Literal["judge"]
    votes: int = Field(
        1, ge=1, le=256, description="answers of the model, each with its own seed and order of responses"
    )
    min_valid: int = Field(1, ge=1, description="so many votes must hold a verdict, or the response has an error")
    combine: Literal["mean", "sum"] = Field("mean", description="of the votes that count")
    seed: int = Field(0, ge=0, lt=1 << 31, description="of sampling and shuffles, beside what a request sends")
    prompt: str | None = Field(None, description="a file in place of the recipe's own prompt")
    guard: GuardSettings = GuardSettings()
    meta: str | None = Field(None, description="a scorer of this configuration that says which votes count")
    meta_keep: int | None = Field(
        None, ge=1, description="the best so many votes, by `meta`; by default half of `votes`"
    )
    calibration: Calibration | None = None

    @property
    def named(self) -> str:
        """The recipe's name."""
        name: str = getattr(self, "recipe")  # noqa: B009 - each of the classes has it, the base has not
        return name

    @field_validator("guard", mode="before")
    @classmethod
    def _off(cls, given: Any) -> Any:
        """In YAML, a bare ``off`` is false."""
        if given is False or given == "off":
            return {name: "off" for name in GuardSettings.model_fields}
        if isinstance(given, dict):
            return {name: "off" if value is False else value for name, value in given.items()}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_valid > self.votes:
            raise ValueError(f"`min_valid` is {self.min_valid}, of {self.votes} votes")
        if self.meta_keep is not None and (self.meta is None or self.meta_keep > self.votes):
            raise ValueError("`meta_keep` goes with `meta`, and is at most `votes`")
        if self.meta is not None and self.named not in WITH_META:
            raise ValueError(f"`meta` chooses among critiques: it goes with {', '.join(WITH_META)}")
        return self

    def judging(self) -> Judging:
        """What the recipes share."""
        return Judging(**{name: getattr(self, name) for name in Judging.model_fields})


class GrmJudge(JudgeBase, GrmSettings):
    """Criteria of its own, a critique and a score for each response (DeepSeek-GRM, arXiv 2504.02495)."""

    recipe: Literal["grm"]


class PrincipleJudge(JudgeBase, PrincipleSettings):
    """Scores by a principle that comes with the request (RewardAnything, arXiv 2506.03637)."""

    recipe: Literal["principle"]


class PairwiseJudge(JudgeBase, PairwiseSettings):
    """Compares responses two at a time, in both orders."""

    recipe: Literal["pairwise"]


class VerifierJudge(JudgeBase, VerifierSettings):
    """YES or NO against a reference (arXiv 2507.08794)."""

    recipe: Literal["verifier"]


class RubricJudge(JudgeBase, RubricSettings):
    """The user's own prompt and form of verdict."""

    recipe: Literal["rubric"]


class ToolJudge(JudgeBase, ToolSettings):
    """Uses tools before it scores (Themis, arXiv 2310.01045)."""

    recipe: Literal["tool"]


Judge = Annotated[
    GrmJudge | PrincipleJudge | PairwiseJudge | VerifierJudge | RubricJudge | ToolJudge, Field(discriminator="recipe")
]
