"""Chooses how a model's forward passes are made: packed where that gives the same answers, else padded."""

import logging

import torch
from torch import Tensor

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Query
from guerdon.engines.torch_attention import PACKED
from guerdon.engines.torch_compiled import compile_layers
from guerdon.engines.torch_loading import Loaded
from guerdon.engines.torch_packed import PackedPass
from guerdon.engines.torch_padded import PaddedPass
from guerdon.engines.torch_pass import ForwardPass

log = logging.getLogger(__name__)

TOLERANCES = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""How far packed answers may be from padded ones, relative to their size. What a model cannot do packed
(positions that it takes from elsewhere, a bias of its own on attention) is further off than that by far."""


def forward_pass(loaded: Loaded, *, prefix_cache_bytes: int = 0, compiled: bool = False) -> ForwardPass:
    """The best way to run the model that is right. Raises NotServable where it cannot be compiled as wanted."""
    chosen = choose_pass(loaded, prefix_cache_bytes=prefix_cache_bytes)
    if compiled:
        compile_layers(loaded.base)
        try:
            with torch.inference_mode(), loaded.adapted(loaded.trial_adapter):
                for queries in (_trial(loaded), _trial(loaded)[:1]):
                    chosen(queries)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NotServable(f"compile: torch cannot compile this model here ({reason})") from error
        chosen.forget()
    return chosen


def choose_pass(loaded: Loaded, *, prefix_cache_bytes: int = 0) -> ForwardPass:
    """Try the model on a few sequences both ways.

    Architectures are not listed: whatever attends through transformers' interface, and gives the answers packed that
    it gives alone, is run packed.
    """
    padded = PaddedPass(loaded)
    queries = _trial(loaded)
    if not loaded.model._can_set_attn_implementation():
        log.info("engine.runs_unpacked model=%s reason=its attention is its own", type(loaded.model).__name__)
        return padded
    usual = loaded.model.config._attn_implementation
    with torch.inference_mode(), loaded.adapted(loaded.trial_adapter):
        alone = torch.cat([padded([query]).answers for query in queries])
        try:
            loaded.model.set_attn_implementation(PACKED)
            packed = PackedPass(loaded, prefix_cache_bytes=prefix_cache_bytes)
            reason = _difference(packed(queries).answers, alone)
        except Exception as error:  # whatever it is, this model is not made for packing
            reason = f"{type(error).__name__}: {error}"
    if reason is None:
        packed.forget()
        return packed
    loaded.model.set_attn_implementation(usual)
    log.warning("engine.runs_unpacked model=%s reason=%s", type(loaded.model).__name__, reason)
    return padded


def _difference(packed: Tensor, alone: Tensor) -> str | None:
    tolerance = TOLERANCES.get(alone.dtype, 1e-3)
    off = (packed.float() - alone.float()).abs().max()
    size = alone.float().abs().max().clamp(min=1e-3)
    return None if off <= tolerance * size else f"answers differ by {off:.2g}, of {size:.2g}"


def _trial(loaded: Loaded) -> list[Query]:
    """A few short sequences, some with a common prefix."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, loaded.vocabulary, (64,), generator=generator).tolist()
    ids = [token for token in ids if token != loaded.pad_id]
    layers = () if loaded.classifies else (-1,)
    parts = [ids[:20], ids[:20] + ids[30:41], ids[:20] + ids[45:50], ids[:9] + ids[5:12], ids[50:53]]
    return [Query.of(part, layers=layers, adapter=loaded.trial_adapter) for part in parts]
