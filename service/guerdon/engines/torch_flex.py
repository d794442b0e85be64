"""Attention over a packed row in one kernel: FlexAttention with the trie as its block mask."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from guerdon.engines.prefix_trie import Row
from guerdon.engines.torch_attention import Rule
from guerdon.engines.torch_segments import Held, kept_segments

BLOCK = 128
"""Rows are filled up to a multiple of it, so that kernels see few distinct lengths."""


class FlexAttention:
    """See `SegmentAttention`, whose answers these are.

    In a depth-first row a key at place k is seen by the places [k, reach) of its segment's subtree, so the whole trie
    is two numbers per key. Keys of contexts come first.
    """

    def __init__(self, row: Row, *, causal: bool, contexts: Sequence[Sequence[Held]] = (), keep: bool = False) -> None:
        self._row, self._causal, self._contexts, self._keeps = row, causal, contexts, keep
        self.kept: list[Held] = [[] for _ in row.segments] if keep else []
        self._calls = 0
        self._masks: dict[int | None, BlockMask] = {}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """See `RowAttention`."""
        call, self._calls = self._calls, self._calls + 1
        if self._keeps:
            kept_segments(self.kept, self._row, key, value)
        pieces = [piece[call] for pieces in self._contexts for piece in pieces]
        keys = torch.cat([*(k for k, _ in pieces), key], 1)
        values = torch.cat([*(v for _, v in pieces), value], 1)
        if rule.window not in self._masks:
            self._masks[rule.window] = self._mask(rule.window, keys.shape[1], query.device)
        mask = self._masks[rule.window]
        out = _kernel(query.device.type)(
            _filled(query).unsqueeze(0),
            _filled(keys).unsqueeze(0),
            _filled(values).unsqueeze(0),
            score_mod=_capped(rule.softcap),
            block_mask=mask,
            scale=rule.scale,
            enable_gqa=len(query) != len(key),
        )
        result: Tensor = out[0, :, : query.shape[1]].transpose(0, 1)
        return result

    def _mask(self, window: int | None, keys: int, device: torch.device) -> BlockMask:
        places, all_keys = _multiple(len(self._row.token_ids)), _multiple(keys)
        first, reach, positions = (torch.from_numpy(a).to(device) for a in self._intervals(all_keys))
        at = torch.zeros(places, dtype=torch.int32)
        at[: len(self._row.positions)] = torch.from_numpy(self._row.positions)
        at = at.to(device)

        def visible(batch: Tensor, head: Tensor, place: Tensor, key: Tensor) -> Tensor:
            seen = (first[key] <= place) & (place < reach[key])
            if window is None:
                return seen
            return seen & ((at[place] - positions[key]).abs() < window)

        made: BlockMask = _mask_maker(device.type)(
            visible, None, None, places, all_keys, device=device, BLOCK_SIZE=BLOCK
        )
        return made

    def _intervals(self, count: int) -> tuple[np.ndarray[Any, Any], ...]:
        """For each key the first place that sees it, the place after the last, and the key's position."""
        columns: list[tuple[np.ndarray[Any, Any], ...]] = []
        for context, pieces in zip(self._row.contexts, self._contexts, strict=True):
            length = sum(piece[0][0].shape[1] for piece in pieces)
            columns.append((np.full(length, context.start), np.full(length, context.end), np.arange(length)))
        for segment in self._row.segments:
            own = np.arange(segment.start, segment.end)
            first = own if self._causal else np.full(len(own), segment.start)
            columns.append((first, np.full(len(own), segment.reach), own - segment.start + segment.position))
        rows = [np.concatenate(parts).astype(np.int32) for parts in zip(*columns, strict=True)]
        return tuple(np.pad(row, (0, count - len(row))) for row in rows)


@lru_cache
def _kernel(device: str) -> Callable[..., Any]:
    """The kernel, compiled once for all lengths; on a CPU, where it serves as a check only, as it stands."""
    kernel: Callable[..., Any] = flex_attention
    return kernel if device == "cpu" else torch.compile(kernel, dynamic=True)


@lru_cache
def _mask_maker(device: str) -> Callable[..., Any]:
    """Compiled, or it would write out the whole mask first."""
    maker: Callable[..., Any] = create_block_mask
    return maker if device == "cpu" else torch.compile(maker, dynamic=True)


@lru_cache
def _capped(softcap: float | None) -> Callable[..., Tensor] | None:
    if softcap is None:
        return None

    def capped(score: Tensor, batch: Tensor, head: Tensor, place: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return capped


def _multiple(count: int) -> int:
    return -(-count // BLOCK) * BLOCK


def _filled(states: Tensor) -> Tensor:
    """States [heads, tokens, d], with zeros up to a multiple of the block."""
    return torch.nn.functional.pad(states, (0, 0, 0, _multiple(states.shape[1]) - states.shape[1]))
