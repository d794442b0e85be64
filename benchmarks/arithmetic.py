"""Counts the arithmetic that a workload needs, so that a time becomes a share of what the machine can do."""

from collections.abc import Iterable

from benchmarks.models import PAIR_MARKS, Shape
from benchmarks.texts import Group


def linear_flops(shape: Shape) -> int:
    """Of all linear layers for one token: a multiplication and an addition for each weight."""
    return 2 * shape.layers * sum(inputs * outputs for inputs, outputs in shape.linears().values())


def flops(shape: Shape, groups: Iterable[Group], *, shared: bool = True) -> int:
    """Of linear layers and attention. With ``shared``, a decoder reads each group's prompt once; an encoder cannot."""
    groups = list(groups)
    computed = tokens(shape, groups, shared=shared) * linear_flops(shape)
    return computed + sum(_keys(shape, group, shared=shared) for group in groups) * _attention_flops(shape)


def tokens(shape: Shape, groups: Iterable[Group], *, shared: bool = True) -> int:
    """Tokens that pass through the layers."""
    if shape.encoder:
        return sum(sum(_pair_lengths(group)) for group in groups)
    return sum(group.prompt_tokens + sum(group.response_tokens) if shared else group.tokens for group in groups)


def _keys(shape: Shape, group: Group, *, shared: bool) -> int:
    """Pairs of a token and another that it sees."""
    if shape.encoder:
        return sum(length * length for length in _pair_lengths(group))
    if not shared:
        return sum(_causal(0, group.prompt_tokens + response) for response in group.response_tokens)
    responses = sum(_causal(group.prompt_tokens, response) for response in group.response_tokens)
    return _causal(0, group.prompt_tokens) + responses


def _pair_lengths(group: Group) -> list[int]:
    """With the marks before, between and after the two texts."""
    return [group.prompt_tokens + response + len(PAIR_MARKS) for response in group.response_tokens]


def _attention_flops(shape: Shape) -> int:
    """Of one query and one visible key in all layers: a dot product with the key, and adding up the value."""
    return 4 * shape.layers * shape.heads * shape.head_dim


def _causal(before: int, tokens: int) -> int:
    """Visible keys of ``tokens`` positions, each seeing all before it and itself."""
    return tokens * before + tokens * (tokens + 1) // 2
