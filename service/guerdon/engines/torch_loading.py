"""Loads a transformers checkpoint: safetensors only, no remote code, no head made up."""

import inspect
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import head_outputs, stamp
from guerdon.engines.settings import EngineSettings

log = logging.getLogger(__name__)


class Adapters(Protocol):
    """Several PEFT adapters over one model."""

    def active(self, adapter: str) -> AbstractContextManager[Any]:
        """While the block runs, this adapter is part of the model; empty is none."""
        ...


HEADS = frozenset({"score", "classifier"})
POOLERS = frozenset({"pooler"})
"""Left out of many backbones, and not used for pooled hidden states."""
LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run. ``score`` is a decoder's head over ``base``; None where the class pools by itself."""

    model: nn.Module
    base: nn.Module
    score: nn.Module | None
    device: torch.device
    pad_id: int
    config_pad_id: int | None
    reads_type_ids: bool
    adapters: Adapters | None = None

    def adapted(self, adapter: str) -> AbstractContextManager[Any]:
        """While the block runs, the model is the base with this adapter; empty is the base alone."""
        return nullcontext() if self.adapters is None else self.adapters.active(adapter)


def load_model(settings: EngineSettings) -> Loaded:
    """Load what the settings name onto its device. Raises NotServable, whatever is wrong with the files."""
    _refuse_changed(settings)
    try:
        return _loaded(settings)
    except LOADING_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotServable(f"{Path(settings.folder).name}: {reason}") from error


def _loaded(settings: EngineSettings) -> Loaded:
    disable_progress_bar()
    device = choose_device(settings.device, settings.replica)
    model = _pretrained(settings)
    adapters = _adapters(model, settings) if settings.adapters else None
    model = model.to(device).eval()
    score = getattr(model, "score", None)
    config_pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    return Loaded(
        model=model,
        base=model if settings.task == "embed" else model.base_model,
        score=score if isinstance(score, nn.Module) and settings.task == "classify" else None,
        device=device,
        pad_id=config_pad if config_pad is not None and config_pad >= 0 else 0,
        config_pad_id=config_pad,
        reads_type_ids="token_type_ids" in inspect.signature(model.forward).parameters
        and getattr(model.config, "type_vocab_size", 0) > 1,
        adapters=adapters,
    )


def choose_device(wanted: str, replica: int = 0) -> torch.device:
    """The torch device that a setting means. Raises NotServable for one that this machine lacks."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda":
        wanted = f"cuda:{replica % max(1, torch.cuda.device_count())}"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NotServable(f"device {wanted}: this machine offers {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise NotServable("device mps: not available on this machine")
    return device


def _pretrained(settings: EngineSettings) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(settings.folder, trust_remote_code=False, local_files_only=True)
    own_heads = bool(settings.adapters) and all(head_outputs(Path(a.folder)) for a in settings.adapters)
    if own_heads and settings.labels is not None:
        config.num_labels = settings.labels
    auto = AutoModelForSequenceClassification if settings.task == "classify" else AutoModel
    model, report = auto.from_pretrained(
        settings.folder,
        config=config,
        dtype=getattr(torch, settings.dtype),
        attn_implementation=_attention(config),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    spared = POOLERS if settings.task == "embed" else HEADS if own_heads and not settings.serves_base else frozenset()
    _refuse_made_up_weights(settings, sorted(report["missing_keys"]), spared)
    return model


def _refuse_changed(settings: EngineSettings) -> None:
    """A folder that was written again is another model than the one that callers are told of."""
    for folder, known in [(settings.folder, settings.stamp), *((a.folder, a.stamp) for a in settings.adapters)]:
        if known is not None and stamp(Path(folder)) != known:
            raise NotServable(f"{Path(folder).name}: its files have changed since the service started; restart it")


def _refuse_made_up_weights(settings: EngineSettings, missing: Sequence[str], spared: frozenset[str]) -> None:
    """What the checkpoint lacks, transformers fills with random numbers: never a reward."""
    lacking = [name for name in missing if name.split(".", maxsplit=1)[0] not in spared]
    if lacking:
        what = "sequence classifier" if settings.task == "classify" else "model"
        raise NotServable(f"{Path(settings.folder).name}: not a trained {what}: the checkpoint has no {lacking[0]}")


def _attention(config: Any) -> str | None:
    """Eager where attention logits are soft-capped, which the fused kernel leaves out; else transformers' choice."""
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped else None


def _adapters(model: PreTrainedModel, settings: EngineSettings) -> Adapters:
    from guerdon.engines.torch_adapters import PeftAdapters  # peft takes a second to import, and few need it

    return PeftAdapters(model, settings.adapters)
