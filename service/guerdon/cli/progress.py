"""Tells a person how far a run is: a bar on a terminal, else a line every few seconds."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

EVERY_S = 5.0


class Watching(Protocol):
    """Hears of progress."""

    def advance(self, rows: int, errors: int) -> None:
        """So many more rows are done, of which so many have an error."""
        ...


class Silence:
    """Tells nothing."""

    def advance(self, rows: int, errors: int) -> None:
        """Nothing."""


class Lines:
    """A plain line now and then. ``now`` is a clock in seconds."""

    def __init__(
        self, total: int | None, done: int, *, now: Callable[[], float], say: Callable[[str], None], what: str = "rows"
    ) -> None:
        self._total, self._done, self._now, self._say, self._what = total, done, now, say, what
        self._rows = self._errors = 0
        self._started = self._said = now()

    def advance(self, rows: int, errors: int) -> None:
        """Speak if the last line is some seconds old."""
        self._rows += rows
        self._errors += errors
        now = self._now()
        if now - self._said < EVERY_S:
            return
        self._said = now
        self._say(self._line(self._rows / (now - self._started)))

    def _line(self, rate: float) -> str:
        done = self._done + self._rows
        of = f" of {self._total:,}" if self._total is not None else ""
        parts = [f"{done:,}{of} {self._what}", f"{rate:.1f} {self._what}/s"]
        if self._total is not None and rate:
            parts.append(f"{clock((self._total - done) / rate)} left")
        if self._errors:
            parts.append(f"{self._errors:,} with an error")
        return "guerdon: " + ", ".join(parts)


class Bar:
    """A bar on a terminal."""

    def __init__(self, bar: Progress, total: int | None, done: int) -> None:
        self._bar, self._errors = bar, 0
        self._task = bar.add_task("rows", total=total, completed=done, errors="")

    def advance(self, rows: int, errors: int) -> None:
        """Move it."""
        self._errors += errors
        told = f"{self._errors:,} with an error" if self._errors else ""
        self._bar.update(self._task, advance=rows, errors=told)


class _Rate(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def render(self, task: Task) -> Text:
        """Rows a second."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._what}/s" if speed else "")


@contextlib.contextmanager
def watching(total: int | None, done: int, *, to_terminal: bool, what: str = "rows") -> Iterator[Watching]:
    """Tell on standard error. ``to_terminal``: the rows themselves go to one, so a bar would be in their way."""
    if to_terminal:
        yield Silence()
    elif not sys.stderr.isatty():
        yield Lines(total, done, now=time.monotonic, say=lambda line: typer.echo(line, err=True), what=what)
    else:
        of = " of {task.total:,.0f}" if total is not None else ""
        columns = (
            BarColumn(), TextColumn(f"{{task.completed:,.0f}}{of} {what}"), _Rate(what), TimeRemainingColumn(),
            TextColumn("{task.fields[errors]}", style="red"),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as bar:
            yield Bar(bar, total, done)


def clock(seconds: float) -> str:
    """3:07, or 2:03:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
