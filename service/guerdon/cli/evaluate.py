"""``guerdon eval``: pair accuracy on a labelled file."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.faults import CannotRun, readable, unknown
from guerdon.cli.files import reading, source
from guerdon.cli.intervals import percent
from guerdon.cli.job import SOME_ERRORS, Count, rewarded, tell, total_rows, understanding
from guerdon.cli.options import Asking, InFile, Options, with_options
from guerdon.cli.pairs import Accuracy, Evaluation, labelled_pairs
from guerdon.cli.progress import Watching, watching
from guerdon.cli.rows import Asked, Row
from guerdon.cli.tables import table

LOOKED_AT = 100
By = Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="tell it by the values of a column, too")]
JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="write the figures as JSON; - for standard output")
]
MinAccuracy = Annotated[
    float | None, typer.Option(min=0, max=1, help="exit with status 3 if the accuracy is below this")
]


@with_options
def evaluate(
    origin: InFile, by: By = None, json_file: JsonFile = None, min_accuracy: MinAccuracy = None, *, options: Options
) -> None:
    """Measure pair accuracy on a labelled file.

    That is how often the better of two responses has the higher reward.

    A row has a prompt or messages, and `chosen` and `rejected`; or `responses` and `acceptable`, a list of
    0-based indexes: each acceptable response is then compared with each of the others. A tie is wrong.
    Where rows have several pairs, these are not independent of each other, and the interval is found
    by drawing rows (of fewer than ten, each counts as one trial). A column in `--by` that is a list with
    one value a response counts by the worse one's.

    Examples:
      guerdon eval examples/pairs.jsonl --by topic --by rejected_kind
      guerdon eval held_out.parquet --model heads.a --json accuracy.json --min-accuracy 0.9

    Exit status: 0, or 3 if rows have an error or the accuracy is too low, 1 if it could not run, 2 for a wrong option.

    """
    asking = options.asking()
    evaluation, count = Evaluation(by or (), options.ignore or ()), Count()
    rows_from = source(origin)
    total = total_rows(rows_from.identity(), asking)
    with reading(rows_from) as all_rows, watching(total, 0, to_terminal=False) as progress:
        rows = _with_columns(itertools.islice(all_rows, options.limit), evaluation.by)
        asyncio.run(_evaluate(rows, asking, evaluation, count, progress))
    tell(count)
    _report(evaluation, count, asking, json_file)
    if count.errors or (min_accuracy is not None and _below(evaluation.whole, min_accuracy)):
        raise typer.Exit(SOME_ERRORS)


async def _evaluate(
    rows: Iterator[Row], asking: Asking, evaluation: Evaluation, count: Count, progress: Watching
) -> None:
    read = understanding(asking)

    def understand(row: Row) -> Asked:
        asked = read(row)
        labelled_pairs(row.columns, len(asked.names), evaluation.ignored)
        return asked

    async with contextlib.aclosing(rewarded(rows, asking, understand)) as stream:
        async for chunk in stream:
            errors = count.errors
            for result in chunk:
                count.add(result.item)
                if "error" not in result.item:
                    evaluation.add(result.row.columns, result.item["rewards"])
            progress.advance(len(chunk), count.errors - errors)


def _with_columns(rows: Iterator[Row], wanted: Sequence[str]) -> Iterator[Row]:
    """The rows. Raises CannotRun where the first that can be read lacks a column that is asked for."""
    unread = list(itertools.islice(rows, LOOKED_AT))
    first = next((row for row in unread if row.fault is None), None)
    if first is not None:
        for column in wanted:
            if column not in first.columns:
                raise unknown("column", column, first.columns)
    return itertools.chain(unread, rows)


def _report(evaluation: Evaluation, count: Count, asking: Asking, json_file: str | None) -> None:
    figures = {
        "model": asking.request.model,
        "revision": asking.card["revision"],
        **evaluation.told(),
        "error_rows": count.errors,
    }
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    if json_file == "-":
        typer.echo(text, nl=False)
        return
    if not evaluation.whole.pairs:
        raise CannotRun("there is no pair to compare")
    typer.echo(_in_words(evaluation))
    if json_file is not None:
        with readable(Path(json_file)):
            Path(json_file).write_text(text, encoding="utf-8")


def _in_words(evaluation: Evaluation) -> str:
    whole = evaluation.whole
    interval, method = whole.interval()
    lines = [
        f"pair accuracy {whole.share:.1%}: {whole.correct:,} of {whole.pairs:,} pairs",
        f"95 % interval {percent(interval)} ({method})",
        f"ties {whole.ties:,}, counted as wrong; mean margin {whole.margins / whole.pairs:.4g}",
    ]
    if method != "Wilson":
        lines.append(f"the pairs come from {sum(whole.rows.values()):,} rows; pairs of one row are not independent")
    if evaluation.without_pairs:
        lines.append(f"{evaluation.without_pairs:,} rows have no pair: all of their responses are labelled alike")
    return "\n\n".join(["\n".join(lines), *(_group_table(name, groups) for name, groups in evaluation.groups.items())])


def _group_table(column: str, groups: dict[str, Accuracy]) -> str:
    rows = [
        [
            label, f"{group.share:.1%}", percent(group.interval()[0]), f"{group.pairs:,}", f"{group.ties:,}",
            f"{group.margins / group.pairs:.4g}",
        ]
        for label, group in sorted(groups.items())
    ]  # fmt: skip
    headings = [column, "accuracy", "95 % interval", "pairs", "ties", "mean margin"]
    return table(headings, rows, right=(1, 2, 3, 4, 5))


def _below(whole: Accuracy, least: float) -> bool:
    if not whole.pairs or whole.share < least:
        share = f"{whole.share:.4f}" if whole.pairs else "unknown"
        typer.secho(f"guerdon: the accuracy is {share}, below {least:g}", fg="red", err=True)
        return True
    return False
