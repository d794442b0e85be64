"""Plans of judges."""

from pathlib import Path
from typing import TypeVar

from guerdon.domain.errors import NotServable
from guerdon.domain.strict import Strict
from guerdon.engines.checkpoint import find_checkpoint
from guerdon.scorers.judges.grm import Grm, GrmSettings
from guerdon.scorers.judges.judge import Judge, Voting
from guerdon.scorers.judges.pairwise import Pairwise, PairwiseSettings
from guerdon.scorers.judges.principle import Principle, PrincipleSettings
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Recipe
from guerdon.scorers.judges.rubric import Rubric, RubricSettings
from guerdon.scorers.judges.settings import (
    GrmJudge,
    JudgeBase,
    PairwiseJudge,
    PrincipleJudge,
    RubricJudge,
    ToolJudge,
    VerifierJudge,
)
from guerdon.scorers.judges.tool import ToolJudge as Tools
from guerdon.scorers.judges.tool import ToolSettings
from guerdon.scorers.judges.verifier import Verifier, VerifierSettings
from guerdon.scorers.plan_parts import existing, here
from guerdon.scorers.plan_vllm import at_url, vllm_settings
from guerdon.scorers.scorer_plan import ScorerPlan

S = TypeVar("S", bound=Strict)

PROMPT_VERSION = "v1"
BLANKS: dict[str, tuple[frozenset[str], tuple[frozenset[str], ...]]] = {
    "grm": (frozenset({"conversation", "responses", "structured"}), (frozenset({"responses"}),)),
    "principle": (
        frozenset({"request", "principle", "prompt", "responses", "analysis"}),
        (frozenset({"request", "responses"}),),
    ),
    "pairwise": (
        frozenset({"principle", "question", "first", "second"}),
        (frozenset({"first"}), frozenset({"second"})),
    ),
    "verifier": (
        frozenset({"question", "response", "reference"}),
        (frozenset({"response"}), frozenset({"reference"})),
    ),
    "tool": (
        frozenset({"tools", "calls", "low", "high", "structured", "conversation", "response", "reference"}),
        (frozenset({"response"}),),
    ),
}
"""What a recipe's prompt may fill in, and of what it has to fill in one each. A rubric looks after its own."""


def plan_judge(name: str, settings: JudgeBase, base: Path) -> ScorerPlan:
    """A judge's recipe, ready to be given its model. Raises NotServable."""
    recipe = _recipe(settings, base)
    checkpoint = None if settings.url else find_checkpoint(here(base, settings.model), revision=settings.revision)
    weights = checkpoint.revision() if checkpoint else repr(at_url(settings))
    voting = Voting(
        votes=settings.votes,
        min_valid=settings.min_valid,
        combine=settings.combine,
        seed=settings.seed,
        meta_keep=settings.meta_keep or max(1, settings.votes // 2),
    )
    guard = settings.guard.model_dump_json()
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=vllm_settings(settings, base, checkpoint, "generate"),
        tokenizer=None,
        heads={"score": settings.calibration},
        only_head=0,
        uses=recipe.uses | {"seed"},
        identity=("judge/1", weights, settings.dtype, *settings.vllm_args, repr(voting), guard, *recipe.identity),
        build=lambda parts: Judge(
            recipe,
            parts.engine,
            voting,
            name=name,
            guard=settings.guard,
            record=parts.record,
            meta=parts.needed,
        ),
        set_wise=recipe.set_wise,
        cacheable=not isinstance(recipe, Tools) or recipe.cacheable,
        needs=settings.meta,
    )


def _recipe(settings: JudgeBase, base: Path) -> Recipe:
    judging, prompt = settings.judging(), _prompt(settings, base)
    match settings:
        case GrmJudge():
            return Grm(_own(GrmSettings, settings), judging, prompt)
        case PrincipleJudge():
            return Principle(_own(PrincipleSettings, settings), judging, prompt)
        case PairwiseJudge():
            return Pairwise(_own(PairwiseSettings, settings), judging, prompt)
        case VerifierJudge():
            return Verifier(_own(VerifierSettings, settings), judging, prompt)
        case RubricJudge():
            return Rubric(_own(RubricSettings, settings), judging, prompt)
        case ToolJudge():
            return Tools(_own(ToolSettings, settings), judging, prompt)
    raise NotServable(f"recipe: {type(settings).__name__} is none")


def _own(kind: type[S], settings: JudgeBase) -> S:
    """The recipe's own settings: the others change no verdict, or are told apart from these."""
    return kind(**{name: getattr(settings, name) for name in kind.model_fields})


def _prompt(settings: JudgeBase, base: Path) -> Prompt:
    """The user's own, or the one that comes with the recipe. Raises NotServable where it cannot be filled."""
    recipe = settings.named
    if settings.prompt is None:
        return Prompt.shipped(f"{recipe}.{PROMPT_VERSION}")
    prompt = Prompt.read(existing(base, "prompt", settings.prompt))
    if recipe in BLANKS:
        prompt.check(*BLANKS[recipe])
    return prompt
