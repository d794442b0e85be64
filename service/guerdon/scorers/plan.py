"""What a configured scorer needs, worked out before anything is loaded."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import Checkpoint, find_checkpoint, stamp, verify_sha256
from guerdon.engines.settings import AdapterSettings, EngineSettings
from guerdon.scorers.head_ensemble import HeadEnsemble, uses_of
from guerdon.scorers.heads import Head, agreed, fits, load_head
from guerdon.scorers.judges.settings import JudgeBase
from guerdon.scorers.plan_judge import plan_judge
from guerdon.scorers.plan_parts import existing, here, label, tokenizer_of
from guerdon.scorers.plan_vllm import process_reward_model, vllm_reward_model
from guerdon.scorers.relevance import Relevance
from guerdon.scorers.reward_model import RewardModel
from guerdon.scorers.scorer import reads_conversations
from guerdon.scorers.scorer_plan import ScorerPlan
from guerdon.scorers.settings import (
    HeadEnsembleSettings,
    OnEngine,
    ProcessRewardModelSettings,
    RelevanceSettings,
    RewardModelSettings,
    ScorerSettings,
    VllmRewardModelSettings,
)


def plan_scorer(name: str, settings: ScorerSettings, *, base: Path, cache: Path) -> ScorerPlan:
    """Find the scorer's files and work out its parts. Raises NotServable that names the scorer."""
    try:
        match settings:
            case RewardModelSettings():
                return _reward_model(name, settings, base, cache)
            case HeadEnsembleSettings():
                return _head_ensemble(name, settings, base, cache)
            case RelevanceSettings():
                return _relevance(name, settings, base, cache)
            case VllmRewardModelSettings():
                return vllm_reward_model(name, settings, base, cache)
            case ProcessRewardModelSettings():
                return process_reward_model(name, settings, base, cache)
            case JudgeBase():
                return plan_judge(name, settings, base)
    except NotServable as error:
        raise NotServable(f"scorers.{name}: {error}") from error


def _reward_model(name: str, settings: RewardModelSettings, base: Path, cache: Path) -> ScorerPlan:
    adapter = here(base, settings.adapter) if settings.adapter else None
    checkpoint = find_checkpoint(here(base, settings.model), revision=settings.revision, adapter=adapter)
    tokenizer, told = tokenizer_of(settings, checkpoint, base, cache, append_eos=settings.append_eos)
    adapter_name = checkpoint.revision()[:16] if checkpoint.adapter else ""
    labels = checkpoint.labels
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=_engine(settings, checkpoint, "classify", adapter_name).model_copy(
            update={"pooled_token": settings.pooled_token}
        ),
        tokenizer=tokenizer,
        heads=dict.fromkeys(labels, settings.calibration),
        only_head=label(settings.label, labels),
        uses=reads_conversations(tokenizer),
        identity=("reward_model/1", checkpoint.revision(), settings.dtype, settings.pooled_token, *told),
        build=lambda parts: RewardModel(parts.engine, tokenizer, labels=labels, adapter=adapter_name),
    )


def _head_ensemble(name: str, settings: HeadEnsembleSettings, base: Path, cache: Path) -> ScorerPlan:
    checkpoint = _backbone(settings, base)
    tokenizer, told = tokenizer_of(settings, checkpoint, base, cache)
    files = {head: existing(base, "heads", file) for head, file in settings.heads.items()}
    heads = {head: _head(file) for head, file in files.items()}
    _check_heads(heads, checkpoint)
    digests = [f"{head}={hashlib.sha256(file.read_bytes()).hexdigest()}" for head, file in files.items()]
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=_engine(settings, checkpoint, "embed"),
        tokenizer=tokenizer,
        heads={head: settings.calibration.get(head) or loaded.calibration for head, loaded in heads.items()},
        only_head=0 if len(heads) == 1 else -1,
        uses=uses_of(heads, tokenizer),
        identity=("head_ensemble/1", checkpoint.revision(), settings.dtype, *told, *digests),
        build=lambda parts: HeadEnsemble(parts.engine, tokenizer, heads),
    )


def _relevance(name: str, settings: RelevanceSettings, base: Path, cache: Path) -> ScorerPlan:
    checkpoint = _backbone(settings, base)
    tokenizer, told = tokenizer_of(settings, checkpoint, base, cache)
    dots = settings.dot_range
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=_engine(settings, checkpoint, "embed"),
        tokenizer=tokenizer,
        heads={"relevance": settings.calibration},
        only_head=0,
        uses=Relevance.uses,
        identity=("relevance/1", checkpoint.revision(), settings.dtype, f"{dots.low}..{dots.high}", *told),
        build=lambda parts: Relevance(parts.engine, tokenizer, dots),
    )


def _backbone(settings: HeadEnsembleSettings | RelevanceSettings, base: Path) -> Checkpoint:
    checkpoint = find_checkpoint(here(base, settings.backbone), revision=settings.revision)
    if settings.sha256 is not None:
        verify_sha256(checkpoint.folder / "model.safetensors", settings.sha256)
    return checkpoint


def _engine(settings: OnEngine, checkpoint: Checkpoint, task: str, adapter: str = "") -> EngineSettings:
    return EngineSettings(
        folder=str(checkpoint.folder),
        stamp=stamp(checkpoint.folder),
        labels=len(checkpoint.labels) if task == "classify" else None,
        task="classify" if task == "classify" else "embed",
        dtype=settings.dtype,
        device=settings.device,
        adapters=_adapters(adapter, checkpoint.adapter),
        serves_base=not adapter,
        threads=settings.threads,
        prefix_cache_bytes=int(settings.prefix_cache),
        compile=settings.compile,
    )


def _adapters(name: str, folder: Path | None) -> tuple[AdapterSettings, ...]:
    return () if folder is None else (AdapterSettings(name=name, folder=str(folder), stamp=stamp(folder)),)


def _head(file: Path) -> Head:
    try:
        return load_head(file)
    except ValueError as error:
        raise NotServable(f"heads: {error}") from error


def _check_heads(heads: Mapping[str, Head], checkpoint: Checkpoint) -> None:
    text = checkpoint.config.get("text_config", checkpoint.config)
    try:
        agreed(heads.values())
        for head in heads.values():
            fits(head, hidden=int(text["hidden_size"]), depth=int(text["num_hidden_layers"]))
    except ValueError as error:
        raise NotServable(f"heads: {error}") from error
    except KeyError as error:
        raise NotServable(f"backbone: config.json names no {error}") from error
