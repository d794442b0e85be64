"""Hands a model's attention over packed rows to us, through transformers' attention interface."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

PACKED = "guerdon_packed"
"""The name of our attention. transformers makes no mask for a name whose masks it does not know."""
BEYOND = ("s_aux", "position_bias")
"""What some models do to attention and ours does not: sinks, and a bias by position."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a layer does to attention besides causality.

    ``window``: only keys less than so many positions away are seen. ``softcap``: logits x become c * tanh(x / c).
    """

    scale: float
    window: int | None = None
    softcap: float | None = None


class RowAttention(Protocol):
    """Attention over one packed row, called once for each attention of the model, in the order of its layers."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """From query [heads, tokens, d], key and value [key heads, tokens, d] to [tokens, heads, d]."""
        ...


_current: ContextVar[RowAttention] = ContextVar("row_attention")
_windows: ContextVar[set[int | None] | None] = ContextVar("windows", default=None)


@contextmanager
def attending(attention: RowAttention) -> Iterator[None]:
    """While the block runs, models of this thread whose attention is `PACKED` attend as ``attention`` does."""
    token = _current.set(attention)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def windows_told() -> Iterator[set[int | None]]:
    """Collect the windows that a model's layers tell our attention of while the block runs."""
    told: set[int | None] = set()
    token = _windows.set(told)
    try:
        yield told
    finally:
        _windows.reset(token)


@torch.library.custom_op("guerdon::attend", mutates_args=())
def _opaque(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """What a compiled layer calls: it is compiled around our attention in one piece, and sees nothing of it."""
    return _current.get()(query, key, value, Rule(scale, window, softcap)).contiguous()


@_opaque.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
    return query.new_empty(query.shape[1], query.shape[0], value.shape[-1])


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    beyond = [name for name in BEYOND if more.get(name) is not None]
    if beyond:
        raise TypeError(f"packed attention knows no {beyond[0]}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.compiler.is_compiling():
        return _opaque(query[0], key[0], value[0], scale, sliding_window, softcap).unsqueeze(0), None
    if (told := _windows.get()) is not None:
        told.add(sliding_window)
    rule = Rule(scale, sliding_window, softcap)
    return _current.get()(query[0], key[0], value[0], rule).unsqueeze(0), None


AttentionInterface.register(PACKED, _attend)
