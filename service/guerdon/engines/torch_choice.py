"""Chooses how a model's forward passes are made: packed where that gives the same answers, else padded."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Query
from guerdon.engines.torch_attention import PACKED, windows_told
from guerdon.engines.torch_compiled import compile_layers
from guerdon.engines.torch_loading import Loaded
from guerdon.engines.torch_packed import PackedPass
from guerdon.engines.torch_padded import LonePass, PaddedPass
from guerdon.engines.torch_pass import ForwardPass

log = logging.getLogger(__name__)

TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far packed answers may be from padded ones, relative to their size. What a model cannot do packed
(positions that it takes from elsewhere, a bias of its own on attention) is further off than that by far."""


def forward_pass(
    loaded: Loaded, *, prefix_cache_bytes: int = 0, compiled: bool = False, threads: int = 1
) -> ForwardPass:
    """The best way to run the model that is right. Raises NotServable where it cannot be compiled as wanted.

    It is compiled for every number of threads that is a share of ``threads``.
    """
    chosen = choose_pass(loaded, prefix_cache_bytes=prefix_cache_bytes)
    if compiled:
        try:
            with torch.inference_mode():
                _compile(loaded, chosen, threads)
        except NotServable:
            raise
        except Exception as error:  # compilers fail in ways of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NotServable(f"compile: torch cannot compile this model here ({reason})") from error
        chosen.forget()
    return chosen


def _compile(loaded: Loaded, chosen: ForwardPass, threads: int) -> None:
    """Compile the layers, and run all that they are compiled for anew. Raises ValueError where answers change."""
    plain = {}
    for adapter in loaded.served:
        with loaded.adapted(adapter):
            plain[adapter] = chosen(_trial(loaded, adapter)).answers
    compile_layers(loaded.base)
    for adapter in loaded.served:
        several = _trial(loaded, adapter)
        lone = _queries(loaded, [[token] for token in _some_tokens(loaded)[:2]], adapter)
        with loaded.adapted(adapter):
            for share in sorted({threads // lanes for lanes in range(1, threads + 1)}):
                torch.set_num_threads(share)
                chosen.forget()
                _compare(chosen(several).answers, plain[adapter])
                for queries in (several[:1], lone[:1], lone):  # a length of 1 is compiled for by itself
                    chosen.forget()
                    chosen(queries)


def choose_pass(loaded: Loaded, *, prefix_cache_bytes: int = 0) -> ForwardPass:
    """Try the model on a few sequences both ways.

    Architectures are not listed: whatever attends through transformers' interface, and gives the answers packed that
    it gives alone, is run packed.
    """
    name, config = type(loaded.model).__name__, loaded.model.config.get_text_config()
    if kind := next((kind for kind in _rope_kinds(config) if kind == "longrope" or "dynamic" in kind), None):
        log.warning("engine.runs_one_by_one model=%s reason=%s positions depend on the longest sequence", name, kind)
        return LonePass(loaded)
    if not loaded.model._can_set_attn_implementation():
        log.info("engine.runs_unpacked model=%s reason=its attention is its own", name)
        return PaddedPass(loaded)
    usual = loaded.model.config._attn_implementation
    try:
        with torch.inference_mode(), loaded.adapted(loaded.served[0]):
            packed = _proven(loaded, prefix_cache_bytes)
    except Exception as error:  # whatever it is, this model is not made for packing
        loaded.model.set_attn_implementation(usual)
        log.warning("engine.runs_unpacked model=%s reason=%s: %s", name, type(error).__name__, error)
        return PaddedPass(loaded)
    packed.forget()
    return packed


def _proven(loaded: Loaded, prefix_cache_bytes: int) -> PackedPass:
    """A packed pass that answers as the model does alone. Raises whatever shows that there is none."""
    queries, padded = _trial(loaded, loaded.served[0]), PaddedPass(loaded)
    alone = torch.cat([padded([query]).answers for query in queries])
    loaded.model.set_attn_implementation(PACKED)
    packed = PackedPass(loaded, prefix_cache_bytes=prefix_cache_bytes)
    with windows_told() as told:
        _compare(packed(queries).answers, alone)
        _compare(packed(queries[::-1]).answers.flip(0), alone)  # with what is known from the first time
    config = loaded.model.config.get_text_config()
    if _has_window(config) and (not any(told) or getattr(config, "is_causal", None) is False):
        raise ValueError("its window is not told to attention")
    return packed


def _compare(packed: Tensor, alone: Tensor) -> None:
    """Raises ValueError where they differ."""
    off = (packed.float() - alone.float()).abs().max()
    size = alone.float().abs().max().clamp(min=1e-3)
    if not off <= TOLERANCES.get(alone.dtype, 1e-3) * size:
        raise ValueError(f"answers differ by {off:.2g}, of {size:.2g}")


def _rope_kinds(config: Any) -> Iterator[str]:
    """How positions are scaled, for all kinds of layers."""
    for name in ("rope_parameters", "rope_scaling"):
        found = getattr(config, name, None)
        if isinstance(found, Mapping):
            nested = [one for one in found.values() if isinstance(one, Mapping)]
            yield from (str(one.get("rope_type", one.get("type", ""))) for one in (found, *nested))


def _has_window(config: Any) -> bool:
    """Whether some layer sees only what is near. Where layers are told apart, that is what counts."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return any("sliding" in kind or "chunked" in kind for kind in kinds)
    windows = (getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None))
    return any(windows) and getattr(config, "use_sliding_window", True) is not False


def _trial(loaded: Loaded, adapter: str) -> list[Query]:
    """A few short sequences, some with a common prefix."""
    ids = _some_tokens(loaded)
    parts = [ids[:20], ids[:20] + ids[30:41], ids[:20] + ids[45:50], ids[:9] + ids[5:12], ids[50:53]]
    return _queries(loaded, parts, adapter)


def _some_tokens(loaded: Loaded) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, loaded.vocabulary, (64,), generator=generator).tolist()
    return [token for token in ids if token != loaded.pad_id]


def _queries(loaded: Loaded, parts: Sequence[Sequence[int]], adapter: str) -> list[Query]:
    layers = () if loaded.classifies else (-1,)
    return [Query.of(part, layers=layers, adapter=adapter) for part in parts]
