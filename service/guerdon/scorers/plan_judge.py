"""Plans of judges."""

from pathlib import Path

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import find_checkpoint
from guerdon.scorers.judges.grm import Grm
from guerdon.scorers.judges.judge import Judge, Voting
from guerdon.scorers.judges.pairwise import Pairwise
from guerdon.scorers.judges.principle import Principle
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Recipe
from guerdon.scorers.judges.rubric import Rubric
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
from guerdon.scorers.judges.verifier import Verifier
from guerdon.scorers.plan_parts import existing, here
from guerdon.scorers.plan_vllm import vllm_settings
from guerdon.scorers.scorer_plan import ScorerPlan

PROMPT_VERSION = "v1"


def plan_judge(name: str, settings: JudgeBase, base: Path) -> ScorerPlan:
    """A judge's recipe, ready to be given its model. Raises NotServable."""
    recipe = _recipe(settings, base)
    checkpoint = None if settings.url else find_checkpoint(here(base, settings.model), revision=settings.revision)
    weights = checkpoint.revision() if checkpoint else f"{settings.model}@{settings.revision or ''}"
    voting = Voting(
        votes=settings.votes,
        min_valid=settings.min_valid,
        combine=settings.combine,
        seed=settings.seed,
        meta_keep=settings.meta_keep or max(1, settings.votes // 2),
    )
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=vllm_settings(settings, base, checkpoint, "generate"),
        tokenizer=None,
        heads={"score": settings.calibration},
        only_head=0,
        uses=recipe.uses | {"seed"},
        identity=("judge/1", weights, settings.dtype, repr(voting), settings.guard.model_dump_json(), *recipe.identity),
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
            return Grm(settings, judging, prompt)
        case PrincipleJudge():
            return Principle(settings, judging, prompt)
        case PairwiseJudge():
            return Pairwise(settings, judging, prompt)
        case VerifierJudge():
            return Verifier(settings, judging, prompt)
        case RubricJudge():
            return Rubric(settings, judging, prompt)
        case ToolJudge():
            return Tools(settings, judging, prompt)
    raise NotServable(f"recipe: {type(settings).__name__} is none")


def _prompt(settings: JudgeBase, base: Path) -> Prompt:
    """The user's own, or the one that comes with the recipe."""
    if settings.prompt is not None:
        return Prompt.read(existing(base, "prompt", settings.prompt))
    recipe: str = getattr(settings, "recipe")  # noqa: B009 - each of the classes has it, the base has not
    return Prompt.shipped(f"{recipe}.{PROMPT_VERSION}")
