"""Tables for people."""

from collections.abc import Sequence


def table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for those who read it on a terminal."""
    lines = [list(names), *map(list, cells)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
