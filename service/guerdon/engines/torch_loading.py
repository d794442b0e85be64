"""Loads a transformers checkpoint: safetensors only, no remote code, no head made up."""

import inspect
import logging
from collections.abc import Mapping, Sequence
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
    """A model ready to run. ``score`` is a decoder's head over ``base``; None where the class pools by itself.

    ``causal``: no token sees what follows it. ``first_position`` is the number of the first position where the model
    does not count from 0. ``pad_to_skip`` is left out when the pooled token is looked for.
    ``served`` are the adapters that queries may name, the empty one being the base alone.
    """

    model: PreTrainedModel
    base: nn.Module
    score: nn.Module | None
    classifies: bool
    causal: bool
    device: torch.device
    vocabulary: int
    width: int
    pad_id: int
    pad_to_skip: int | None
    first_position: int
    reads_type_ids: bool
    adapters: Adapters | None = None
    served: tuple[str, ...] = ("",)

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
    model = model.to(device, arithmetic(getattr(torch, settings.dtype), device)).eval()
    score = getattr(model, "score", None)
    config = model.config.get_text_config()
    config_pad = getattr(config, "pad_token_id", None)
    base = model if settings.task == "embed" else model.base_model
    return Loaded(
        model=model,
        base=base,
        score=score if isinstance(score, nn.Module) and settings.task == "classify" else None,
        classifies=settings.task == "classify",
        causal=_causal(base, config),
        device=device,
        width=int(getattr(config, "hidden_size", 0)) or 1024,
        vocabulary=model.get_input_embeddings().weight.shape[0],
        pad_id=config_pad if config_pad is not None and config_pad >= 0 else 0,
        pad_to_skip=config_pad if settings.pooled_token == "transformers" else None,
        first_position=_first_position(base),
        reads_type_ids="token_type_ids" in inspect.signature(model.forward).parameters
        and getattr(model.config, "type_vocab_size", 0) > 1,
        adapters=adapters,
        served=(*([""] if settings.serves_base else []), *(adapter.name for adapter in settings.adapters)),
    )


def _causal(base: nn.Module, config: Any) -> bool:
    """Whether its attention looks back only."""
    return getattr(config, "is_causal", True) is not False and any(
        getattr(module, "is_causal", False) for module in base.modules()
    )


def _first_position(base: nn.Module) -> int:
    """RoBERTa and its kin number positions from the one after the pad token's id."""
    embeddings = getattr(base, "embeddings", None)
    counts_from_pad = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if embeddings is not None and counts_from_pad else 0


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


INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    torch.float16: ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""What a processor must have, one of these, to multiply matrices in a type as fast as in float32, or faster."""


def arithmetic(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type that a model of this type computes in.

    A processor without instructions for half precision takes several times as long for it as for float32: there
    the weights are rounded to the type, and the arithmetic runs in float32, which only comes closer to the truth.
    """
    if device.type != "cpu" or dtype == torch.float32:
        return dtype
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if any(able.get(name) for name in INSTRUCTIONS[dtype]):
        return dtype
    log.info("engine.computes_in_float32 weights=%s reason=no instructions for it", dtype)
    return torch.float32


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
