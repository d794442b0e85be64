"""What a configured scorer needs, worked out before anything is loaded."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guerdon.aggregation import Calibration
from guerdon.domain.errors import NotServable
from guerdon.domain.ports import Engine
from guerdon.engines.checkpoint import Checkpoint, find_checkpoint, package_path, stamp, verify_sha256
from guerdon.engines.settings import AdapterSettings, EngineSettings
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.tokenizer_files import tokenizer_folder
from guerdon.scorers.head_ensemble import HeadEnsemble, uses_of
from guerdon.scorers.heads import Head, agreed, fits, load_head
from guerdon.scorers.relevance import Relevance
from guerdon.scorers.reward_model import RewardModel
from guerdon.scorers.scorer import Scorer, reads_conversations
from guerdon.scorers.settings import HeadEnsembleSettings, RelevanceSettings, RewardModelSettings, ScorerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerPlan:
    """A scorer that can be built once its engine is there.

    ``heads`` are its outputs with their calibration; ``only_head`` is the one that answers under the scorer's
    own name, -1 where that name means the ensemble of all heads, None where a head must be named.
    ``identity`` is everything that changes its numbers.
    """

    name: str
    settings: ScorerSettings
    checkpoint: Checkpoint
    engine: EngineSettings
    tokenizer: ModelTokenizer
    heads: Mapping[str, Calibration | None]
    only_head: int | None
    uses: frozenset[str]
    identity: tuple[str, ...]
    build: Callable[[Engine], Scorer]


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
    except NotServable as error:
        raise NotServable(f"scorers.{name}: {error}") from error


def _reward_model(name: str, settings: RewardModelSettings, base: Path, cache: Path) -> ScorerPlan:
    adapter = _here(base, settings.adapter) if settings.adapter else None
    checkpoint = find_checkpoint(_here(base, settings.model), revision=settings.revision, adapter=adapter)
    tokenizer, told = _tokenizer(settings, checkpoint, base, cache, append_eos=settings.append_eos)
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
        only_head=_label(settings.label, labels),
        uses=reads_conversations(tokenizer),
        identity=("reward_model/1", checkpoint.revision(), settings.dtype, settings.pooled_token, *told),
        build=lambda engine: RewardModel(engine, tokenizer, labels=labels, adapter=adapter_name),
    )


def _head_ensemble(name: str, settings: HeadEnsembleSettings, base: Path, cache: Path) -> ScorerPlan:
    checkpoint = _backbone(settings, base)
    tokenizer, told = _tokenizer(settings, checkpoint, base, cache)
    files = {head: _file(base, "heads", file) for head, file in settings.heads.items()}
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
        build=lambda engine: HeadEnsemble(engine, tokenizer, heads),
    )


def _relevance(name: str, settings: RelevanceSettings, base: Path, cache: Path) -> ScorerPlan:
    checkpoint = _backbone(settings, base)
    tokenizer, told = _tokenizer(settings, checkpoint, base, cache)
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
        build=lambda engine: Relevance(engine, tokenizer, dots),
    )


def _backbone(settings: HeadEnsembleSettings | RelevanceSettings, base: Path) -> Checkpoint:
    checkpoint = find_checkpoint(_here(base, settings.backbone), revision=settings.revision)
    if settings.sha256 is not None:
        verify_sha256(checkpoint.folder / "model.safetensors", settings.sha256)
    return checkpoint


def _tokenizer(
    settings: ScorerSettings, checkpoint: Checkpoint, base: Path, cache: Path, *, append_eos: bool = False
) -> tuple[ModelTokenizer, tuple[str, ...]]:
    """The tokenizer, and what of it changes a score."""
    folder = tokenizer_folder(checkpoint, trust_file=settings.tokenizer == "file", cache=cache)
    replaced = _chat_template(base, settings.chat_template)
    limits = [limit for limit in (checkpoint.max_tokens, settings.max_tokens) if limit is not None]
    tokenizer = ModelTokenizer(
        folder,
        max_tokens=min(limits, default=None),
        template=settings.template,
        chat_template=replaced,
        truncation=settings.truncation,
        append_eos=append_eos,
    )
    told = (
        checkpoint.tokenizer_revision(), settings.tokenizer, tokenizer.template, replaced or "",
        settings.truncation, str(tokenizer.max_tokens), str(append_eos),
    )  # fmt: skip
    return tokenizer, told


def _engine(settings: ScorerSettings, checkpoint: Checkpoint, task: str, adapter: str = "") -> EngineSettings:
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


def _label(wanted: str | int | None, labels: tuple[str, ...]) -> int | None:
    if wanted is None:
        return 0 if len(labels) == 1 else None
    if isinstance(wanted, int) and 0 <= wanted < len(labels):
        return wanted
    if wanted in labels:
        return labels.index(str(wanted))
    raise NotServable(f"label: the model has no output {wanted!r}; it has {', '.join(labels)}")


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


def _chat_template(base: Path, file: str | None) -> str | None:
    if file is None:
        return None
    return _file(base, "chat_template", file).read_text(encoding="utf-8")


def _file(base: Path, setting: str, file: str) -> Path:
    path = package_path(file) if file.startswith("package:") else Path(_here(base, file))
    if not path.is_file():
        raise NotServable(f"{setting}: there is no file {file}")
    return path


def _here(base: Path, path: str) -> str:
    """A relative path that exists beside the configuration file is meant to be that one."""
    beside = base / Path(path).expanduser()
    return str(beside) if beside.exists() else path
