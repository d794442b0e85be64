"""Attention over a packed row, block by block: no mask where none is needed, no copy of shared keys."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.engines.attention_blocks import TILE, Block, Mask, blocks_of, mask_of
from guerdon.engines.prefix_trie import Row
from guerdon.engines.torch_attention import Rule

MAX_LOGITS = 1 << 24
"""Masked blocks are worked off in pieces of at most so many logits."""

Held = list[tuple[Tensor, Tensor]]
"""Keys and values [key heads, tokens, d] of a run of tokens, layer by layer."""


class SegmentAttention:
    """Every segment attends to itself, and all that lies below a segment attends to that segment as one block.

    A token's attention is then the parts' weighted by their log-sum-exps, which is exact: softmax over a union
    of key sets is the mean of the softmaxes over its parts, weighted by the exponentials' sums.
    ``contexts`` are the pieces that hold each of the row's contexts. With ``keep``, every segment's keys and values
    are in ``kept`` afterwards.
    """

    def __init__(
        self,
        row: Row,
        *,
        causal: bool,
        contexts: Sequence[Sequence[Held]] = (),
        keep: bool = False,
        tile: int = TILE,
    ) -> None:
        self._row, self._causal = row, causal
        self._pieces = [piece for pieces in contexts for piece in pieces]
        self._blocks = blocks_of(row, [[piece[0][0].shape[1] for piece in pieces] for pieces in contexts], tile)
        self.kept: list[Held] = [[] for _ in row.segments] if keep else []
        self._calls = 0
        self._seen: dict[int | None, list[tuple[Block, Tensor | None]]] = {}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """See `RowAttention`."""
        call, self._calls = self._calls, self._calls + 1
        if self.kept:
            kept_segments(self.kept, self._row, key, value)
        grouped = query.view(len(key), -1, *query.shape[1:])
        exact = torch.float32 if query.dtype in (torch.bfloat16, torch.float16) else query.dtype
        out = query.new_empty((query.shape[1], *grouped.shape[:2], value.shape[-1]), dtype=exact)
        mixed = out.permute(1, 2, 0, 3)
        weight = query.new_empty(grouped.shape[:3], dtype=torch.float32)
        for block, mask in self._masked(rule.window, query):
            keys, values = (key, value) if block.piece < 0 else self._pieces[block.piece][call]
            part, total = _attend(
                grouped[:, :, block.start : block.end],
                keys[:, None, block.first : block.stop].expand(-1, grouped.shape[1], -1, -1),
                values[:, None, block.first : block.stop].expand(-1, grouped.shape[1], -1, -1),
                rule,
                causal=block.own and self._causal and mask is None,
                mask=mask,
            )
            rows = slice(block.start, block.end)
            if block.own:
                mixed[:, :, rows], weight[:, :, rows] = part, total
            else:
                share = torch.sigmoid(total - weight[:, :, rows]).to(exact)
                mixed[:, :, rows].lerp_(part.to(exact), share.unsqueeze(-1))
                weight[:, :, rows] = torch.logaddexp(weight[:, :, rows], total)
        return out.flatten(1, 2).to(query.dtype)

    def _masked(self, window: int | None, query: Tensor) -> list[tuple[Block, Tensor | None]]:
        """Blocks that see something, each with its mask as numbers to add to logits [places, keys], if it needs one."""
        if window not in self._seen:
            masks = [(block, mask_of(block, self._row, causal=self._causal, window=window)) for block in self._blocks]
            self._seen[window] = [
                (block, None if mask is None else _added(mask, query))
                for block, mask in masks
                if mask is None or mask.any()
            ]
        return self._seen[window]


def _added(mask: Mask, query: Tensor) -> Tensor:
    """Nothing where a key is seen, minus infinity where it is not."""
    return query.new_zeros(mask.shape).masked_fill_(torch.from_numpy(~mask).to(query.device), -torch.inf)


def kept_segments(kept: Sequence[Held], row: Row, key: Tensor, value: Tensor) -> None:
    """Add a layer's keys and values [key heads, tokens, d] of each segment to what is kept of it."""
    for held, segment in zip(kept, row.segments, strict=True):
        own = slice(segment.start, segment.end)
        held.append((_copy(key[:, own]), _copy(value[:, own])))


def _copy(states: Tensor) -> Tensor:
    """A copy in any case: a view would keep the whole row's tensor alive."""
    return states.clone(memory_format=torch.contiguous_format)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, rule: Rule, *, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of one block and its log-sum-exps, from [key heads, group, places or keys, d]."""
    blind = mask is not None and bool(mask.amax(-1).isinf().any())
    if query.device.type == "cpu" and rule.softcap is None and not blind:
        found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=rule.scale
        )
        return found
    if causal:
        mask = query.new_full((query.shape[2], key.shape[2]), -torch.inf).triu(1)
    step = max(1, MAX_LOGITS // (query.shape[0] * query.shape[1] * key.shape[2]))
    pieces = [
        _spelled_out(query[:, :, at : at + step], key, value, rule, None if mask is None else mask[at : at + step])
        for at in range(0, query.shape[2], step)
    ]
    return torch.cat([out for out, _ in pieces], 2), torch.cat([total for _, total in pieces], 2)


def _spelled_out(
    query: Tensor, key: Tensor, value: Tensor, rule: Rule, mask: Tensor | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same. A place that sees no key at all gets zeros, and minus infinity."""
    logits = torch.matmul(query, key.transpose(-1, -2)).float() * rule.scale
    if rule.softcap is not None:
        logits = rule.softcap * torch.tanh(logits / rule.softcap)
    if mask is not None:
        logits = logits + mask
    total = torch.logsumexp(logits, -1)
    floor = torch.where(total.isinf(), 0.0, total)
    return torch.matmul(torch.exp(logits - floor.unsqueeze(-1)).to(value.dtype), value), total
