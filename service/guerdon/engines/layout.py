"""Which sequences share a padded tensor."""

from collections.abc import Sequence

MAX_PADDING_RATIO = 0.1
"""At most this share of a tensor may be padding, or"""
MAX_PADDING_TOKENS = 64
"""this many tokens: less work than another pass through a small model costs in calls alone."""


def near_equal_groups(lengths: Sequence[int], max_tokens: int | None = None) -> list[list[int]]:
    """Indexes of ``lengths``, grouped so that little of each group's rectangle is padding.

    Within a group lengths fall; every index is in exactly one group. A group of more than one index has at most
    ``max_tokens``, padding included.
    """
    groups: list[list[int]] = []
    longest = real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rectangle = longest * (len(groups[-1]) + 1) if groups else 0
        allowed = max(MAX_PADDING_RATIO * rectangle, MAX_PADDING_TOKENS)
        full = max_tokens is not None and rectangle > max_tokens
        if not groups or full or rectangle - (real + lengths[index]) > allowed:
            groups.append([])
            longest, real = lengths[index], 0
        groups[-1].append(index)
        real += lengths[index]
    return groups
