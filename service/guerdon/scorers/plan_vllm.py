"""Plans of scorers whose model runs on a vLLM server."""

import importlib.util
import shutil
from pathlib import Path
from typing import Literal

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import Checkpoint, find_checkpoint, stamp
from guerdon.engines.vllm_settings import VllmSettings
from guerdon.scorers.on_vllm import OnVllm
from guerdon.scorers.plan_parts import existing, here, label, tokenizer_of
from guerdon.scorers.process_reward_model import ProcessRewardModel
from guerdon.scorers.reward_model import RewardModel
from guerdon.scorers.scorer import reads_conversations
from guerdon.scorers.scorer_plan import ScorerPlan
from guerdon.scorers.settings import ProcessRewardModelSettings, VllmRewardModelSettings


def at_url(settings: OnVllm) -> tuple[str, ...]:
    """What stands for weights that are somewhere else: which model, and where unless the configuration tells them."""
    place = settings.url or ""
    told = (settings.revision,) if settings.revision else (place,)
    return (settings.served_model or settings.model, settings.server, *told) if place else ()


def vllm_reward_model(name: str, settings: VllmRewardModelSettings, base: Path, cache: Path) -> ScorerPlan:
    """Text becomes tokens here, whichever server computes with them."""
    checkpoint = find_checkpoint(here(base, settings.model), revision=settings.revision)
    if int(checkpoint.config.get("type_vocab_size") or 0) > 1:
        raise NotServable(
            "engine: vllm takes token ids, and this model needs segment ids beside them; use engine: torch"
        )
    tokenizer, told = tokenizer_of(settings, checkpoint, base, cache, append_eos=settings.append_eos)
    labels, place = checkpoint.labels, at_url(settings)
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=vllm_settings(settings, base, checkpoint, "pooling"),
        tokenizer=tokenizer,
        heads=dict.fromkeys(labels, settings.calibration),
        only_head=label(settings.label, labels),
        uses=reads_conversations(tokenizer),
        identity=("reward_model/vllm/1", checkpoint.revision(), settings.dtype, *settings.vllm_args, *place, *told),
        build=lambda parts: RewardModel(parts.engine, tokenizer, labels=labels),
    )


def process_reward_model(name: str, settings: ProcessRewardModelSettings, base: Path, cache: Path) -> ScorerPlan:
    """The same, with a mark behind each step, and the head's outputs at every token."""
    checkpoint = find_checkpoint(here(base, settings.model), revision=settings.revision)
    tokenizer, told = tokenizer_of(settings, checkpoint, base, cache)
    if tokenizer.template != "chat":
        raise NotServable("a process reward model needs a chat template (chat_template)")
    labels = checkpoint.labels
    right = settings.label if settings.label != -1 else len(labels) - 1
    place, mark = label(right, labels), tokenizer.token(settings.step_token)
    assert place is not None
    server = vllm_settings(settings, base, checkpoint, "pooling").model_copy(update={"per_token": True})
    steps = (settings.step_separator, settings.step_token, str(place), settings.reduce)
    return ScorerPlan(
        name=name,
        settings=settings,
        checkpoint=checkpoint,
        engine=server,
        tokenizer=tokenizer,
        heads={"score": settings.calibration},
        only_head=0,
        uses=ProcessRewardModel.uses,
        identity=(
            "process_reward_model/1",
            checkpoint.revision(),
            settings.dtype,
            *settings.vllm_args,
            *steps,
            *told,
            *at_url(settings),
        ),
        build=lambda parts: ProcessRewardModel(
            parts.engine,
            tokenizer,
            mark=mark,
            separator=settings.step_separator,
            right=place,
            reduction=settings.reduce,
        ),
    )


def vllm_settings(
    settings: OnVllm, base: Path, checkpoint: Checkpoint | None, runner: Literal["generate", "pooling"]
) -> VllmSettings:
    """Which server, and how it is started or found. Raises NotServable."""
    model = settings.model if checkpoint is None else str(checkpoint.folder)
    return VllmSettings(
        model=model,
        stamp=None if checkpoint is None else stamp(checkpoint.folder),
        served_as=settings.served_model or settings.model,
        runner=runner,
        url=settings.url,
        server=settings.server,
        api_key=_key(settings, base),
        python=None if settings.url else _python(settings, base),
        args=tuple(settings.vllm_args),
        env=tuple(sorted(settings.vllm_env.items())),
        log=None if settings.vllm_log is None else str(_log_file(settings.vllm_log, base)),
        dtype=settings.dtype,
        concurrency=settings.concurrency,
        max_waiting=settings.max_waiting,
        start_timeout_s=settings.start_timeout_s,
        hung_after_s=settings.hung_after_s,
    )


def _log_file(file: str, base: Path) -> Path:
    """Where a started server's output goes. Raises NotServable where nothing can be written there."""
    path = base / Path(file).expanduser()
    try:
        path.open("a").close()
    except OSError as error:
        raise NotServable(f"vllm_log: {file}: {error.strerror or 'cannot be written'}") from error
    return path


def _key(settings: OnVllm, base: Path) -> str:
    if settings.api_key_file is None:
        return ""
    key = existing(base, "api_key_file", settings.api_key_file).read_text(encoding="utf-8").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise NotServable(f"api_key_file: {settings.api_key_file} holds no key")
    return key


def _python(settings: OnVllm, base: Path) -> str | None:
    """The interpreter that has vLLM; None for our own."""
    if settings.vllm_python is None:
        if importlib.util.find_spec("vllm") is None:
            raise NotServable(
                "engine: vllm: vLLM is not installed here; install it, or name the interpreter of an environment "
                "that has it (vllm_python), or a server that runs (url)"
            )
        return None
    python = shutil.which(here(base, settings.vllm_python))
    if python is None:
        raise NotServable(f"vllm_python: there is no program {settings.vllm_python}")
    return python
