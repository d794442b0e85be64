"""One run over a file: reads, rewards, writes, goes on where an earlier run stopped."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import typer

from guerdon.cli.faults import CannotRun, Stopped
from guerdon.cli.files import STDIN, Identity, reading, source
from guerdon.cli.options import Asking
from guerdon.cli.output import Output, opened
from guerdon.cli.pipeline import Result, results
from guerdon.cli.progress import Watching, watching
from guerdon.cli.rows import Json, Row, Understand, understood
from guerdon.cli.scoring import Steadfast
from guerdon.domain.errors import UnusableField

SOME_ERRORS = 3
"""The exit status of a run that finished, but not with every row."""


@dataclass(slots=True)
class Count:
    """Rows so far, those with an error, and those with rewards that members are missing from."""

    rows: int = 0
    errors: int = 0
    first_error: str = ""
    degraded: int = 0
    unused_column: str | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Count an output row, or the item of one."""
        self.rows += 1
        self.degraded += bool(row.get("member_errors"))
        if "error" in row:
            error = row["error"]
            self.errors += 1
            self.first_error = self.first_error or f"row {self.rows}: {error['code']}: {error['message']}"
            if error["code"] == UnusableField.code:
                self.unused_column = error.get("field")

    def told(self) -> str:
        """In words."""
        told = f"{self.rows:,} rows"
        if self.degraded:
            told += f", {self.degraded:,} of them with rewards that members are missing from"
        if self.errors:
            told += f", {self.errors:,} of them with an error; the first is {self.first_error}"
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a command does with a file. ``see`` is shown every output row, also an earlier run's."""

    command: str
    origin: str
    out: str | None
    overwrite: bool
    written: Callable[[Mapping[str, Any], Mapping[str, Any]], Json]
    see: Callable[[Json], None] = lambda row: None


def run(job: Job, asking: Asking) -> Count:
    """Write one output row per input row. Raises CannotRun; what is written by then can be gone on with."""
    rows_from = source(job.origin)
    identity = rows_from.identity()
    settings = {"command": job.command, **asking.settings()}
    with opened(job.out, job.origin, identity, settings, overwrite=job.overwrite) as output:
        count = _replayed(job, output)
        if count.rows:
            typer.echo(f"guerdon: going on after {count.rows:,} rows of an earlier run", err=True)
        total = total_rows(identity, asking)
        if total is None or count.rows < total:
            with (
                _resumable(job, count),
                watching(total, count.rows, to_terminal=_is_terminal(job.out)) as progress,
                reading(rows_from) as rows,
            ):
                to_do = islice(rows, count.rows, asking.options.limit)
                asyncio.run(_write(job, asking, to_do, output, count, progress))
        output.finish()
    return count


def total_rows(identity: Identity | None, asking: Asking) -> int | None:
    """How many rows will be done in the end; None where nobody knows."""
    if identity is None or asking.options.limit is None:
        return identity.rows if identity else None
    return min(identity.rows, asking.options.limit)


def understanding(asking: Asking) -> Understand:
    """How rows are read, given the options."""
    return partial(understood, ignored=frozenset(asking.options.ignore or ()))


def tell(count: Count, where: str | None = None) -> None:
    """The last line of a run, on standard error."""
    hint = f" (--ignore {count.unused_column} passes the column on, unused)" if count.unused_column else ""
    told = f"guerdon: {count.told()}{hint}" + (f" -> {where}" if where else "")
    typer.secho(told, fg="yellow" if count.errors or count.degraded else None, err=True)


async def _write(
    job: Job, asking: Asking, rows: Iterator[Row], output: Output, count: Count, progress: Watching
) -> None:
    async with contextlib.aclosing(rewarded(rows, asking, understanding(asking))) as stream:
        async for chunk in stream:
            written = [job.written(result.row.columns, result.item) for result in chunk]
            output.write(written)
            errors = count.errors
            for row in written:
                count.add(row)
                job.see(row)
            progress.advance(len(written), count.errors - errors)


async def rewarded(rows: Iterator[Row], asking: Asking, understand: Understand) -> AsyncGenerator[list[Result], None]:
    """The results of all rows, some at a time and in order."""
    async with asking.place.opened(asking.request) as scoring:
        stream = results(rows, Steadfast(scoring), understand, batch=asking.batch, in_flight=asking.options.in_flight)
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                yield chunk


def _replayed(job: Job, output: Output) -> Count:
    """What an earlier run has done."""
    count = Count()
    for row in output.earlier():
        count.add(row)
        job.see(row)
    return count


@contextlib.contextmanager
def _resumable(job: Job, count: Count) -> Iterator[None]:
    """Say what to do about a run that stops before its end."""
    again = "the same command goes on from there" if job.out and job.origin != STDIN else "nothing of it can be resumed"
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"guerdon: stopped after {count.rows:,} rows; {again}", err=True)
        raise
    except Stopped as error:
        raise CannotRun(f"{error}; {count.rows:,} rows are written, {again}") from error


def _is_terminal(out: str | None) -> bool:
    return out is None and sys.stdout.isatty()
