"""Attention over a packed row, segment by segment: no mask where none is needed, no copy of shared keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from guerdon.engines.prefix_trie import Row
from guerdon.engines.torch_attention import Rule

MAX_LOGITS = 1 << 24
"""Masked blocks are worked off in pieces of at most so many logits."""

Held = list[tuple[Tensor, Tensor]]
"""Keys and values [key heads, tokens, d] of a run of tokens, layer by layer."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Places [start, end) of the row, which look at keys [first, stop) of the row, or at all keys of a held piece.

    ``position`` is that of the first key.
    """

    start: int
    end: int
    first: int
    stop: int
    position: int
    piece: Held | None = None

    @property
    def own(self) -> bool:
        """Whether these tokens look at themselves."""
        return self.piece is None and self.first == self.start


class SegmentAttention:
    """Every segment attends to itself, and all that lies below a segment attends to that segment as one block.

    A token's attention is then the parts' weighted by their log-sum-exps, which is exact: softmax over a union
    of key sets is the mean of the softmaxes over its parts, weighted by the exponentials' sums.
    ``contexts`` are the pieces that hold each of the row's contexts. With ``keep``, every segment's keys and values
    are in ``kept`` afterwards.
    """

    def __init__(self, row: Row, *, causal: bool, contexts: Sequence[Sequence[Held]] = (), keep: bool = False) -> None:
        self._row, self._causal, self._contexts = row, causal, contexts
        self.kept: list[Held] = [[] for _ in row.segments] if keep else []
        self._masks: dict[int, list[Tensor | None]] = {}

    @cached_property
    def _blocks(self) -> list[_Block]:
        """Each segment's own block first: they tile the row, and all else is merged into them."""
        segments = self._row.segments
        own = [_Block(s.start, s.end, s.start, s.end, s.position) for s in segments]
        below = [_Block(s.end, s.reach, s.start, s.end, s.position) for s in segments if s.reach > s.end]
        return own + below + list(self._held_blocks())

    def _held_blocks(self) -> Iterator[_Block]:
        for context, pieces in zip(self._row.contexts, self._contexts, strict=True):
            position = 0
            for piece in pieces:
                length = piece[0][0].shape[1]
                yield _Block(context.start, context.end, 0, length, position, piece)
                position += length

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """See `RowAttention`."""
        grouped = query.view(len(key), -1, *query.shape[1:])
        exact = torch.float32 if query.dtype in (torch.bfloat16, torch.float16) else query.dtype
        out = query.new_empty((query.shape[1], *grouped.shape[:2], value.shape[-1]), dtype=exact)
        mixed = out.permute(1, 2, 0, 3)
        weight = query.new_empty(grouped.shape[:3], dtype=torch.float32)
        for block, visible in zip(self._blocks, self._visible(rule.window), strict=True):
            if visible is not None and not visible.any():
                continue
            keys, values = (key, value) if block.piece is None else block.piece[layer]
            part, total = _attend(
                grouped[:, :, block.start : block.end],
                keys[:, None, block.first : block.stop].expand(-1, grouped.shape[1], -1, -1),
                values[:, None, block.first : block.stop].expand(-1, grouped.shape[1], -1, -1),
                rule,
                causal=block.own and self._causal and visible is None,
                visible=visible,
            )
            rows = slice(block.start, block.end)
            if block.own:
                mixed[:, :, rows], weight[:, :, rows] = part, total
            else:
                share = torch.sigmoid(total - weight[:, :, rows]).to(exact)
                mixed[:, :, rows].lerp_(part.to(exact), share.unsqueeze(-1))
                weight[:, :, rows] = torch.logaddexp(weight[:, :, rows], total)
        if self.kept:
            kept_segments(self.kept, self._row, key, value)
        return out.flatten(1, 2).to(query.dtype)

    def _visible(self, window: int | None) -> list[Tensor | None]:
        """Each block's mask [places, keys] where a window cuts into it, else None."""
        if window is None:
            return [None] * len(self._blocks)
        if window not in self._masks:
            self._masks[window] = [self._window(block, window) for block in self._blocks]
        return self._masks[window]

    def _window(self, block: _Block, window: int) -> Tensor | None:
        places = torch.from_numpy(self._row.positions[block.start : block.end, None])
        keys = torch.arange(block.position, block.position + block.stop - block.first)[None]
        away = places - keys
        if not self._causal:
            away = away.abs()
        return None if away.max() < window else (away < window) & (away >= 0)


def kept_segments(kept: Sequence[Held], row: Row, key: Tensor, value: Tensor) -> None:
    """Add a layer's keys and values [key heads, tokens, d] of each segment to what is kept of it."""
    for held, segment in zip(kept, row.segments, strict=True):
        own = slice(segment.start, segment.end)
        held.append((key[:, own].contiguous(), value[:, own].contiguous()))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, rule: Rule, *, causal: bool, visible: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of one block and its log-sum-exps, from [key heads, group, places or keys, d]."""
    if visible is None and rule.softcap is None and query.device.type == "cpu":
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=rule.scale
        )
        return out, total
    if causal:
        visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    step = max(1, MAX_LOGITS // (query.shape[0] * query.shape[1] * key.shape[2]))
    pieces = [
        _masked(query[:, :, at : at + step], key, value, rule, None if visible is None else visible[at : at + step])
        for at in range(0, query.shape[2], step)
    ]
    return torch.cat([out for out, _ in pieces], 2), torch.cat([total for _, total in pieces], 2)


def _masked(query: Tensor, key: Tensor, value: Tensor, rule: Rule, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same, spelled out. A place that sees no key at all gets zeros, and minus infinity."""
    logits = torch.matmul(query, key.transpose(-1, -2)).float() * rule.scale
    if rule.softcap is not None:
        logits = rule.softcap * torch.tanh(logits / rule.softcap)
    if visible is not None:
        logits = logits.masked_fill(~visible.to(logits.device), -torch.inf)
    total = torch.logsumexp(logits, -1)
    floor = torch.where(total.isinf(), 0.0, total)
    return torch.matmul(torch.exp(logits - floor.unsqueeze(-1)).to(value.dtype), value), total
