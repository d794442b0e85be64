"""Parquet, by pyarrow: imported only where a file is Parquet."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.rows import RESULTS, Json

ROWS_AT_ONCE = 1024
NUMBERS = pa.list_(pa.float64())
RESULT_TYPES = {
    "rewards": NUMBERS,
    "std": NUMBERS,
    "truncated": pa.list_(pa.bool_()),
    "ranking": pa.list_(pa.int64()),
    "best": pa.int64(),
    "error": pa.struct([("code", pa.string()), ("message", pa.string()), ("field", pa.string())]),
}
ALWAYS = ("rewards", "error")
"""Columns that are there even if no row has them, so that the outputs of several runs fit together."""


def count(path: Path) -> int:
    """How many rows there are."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def columns_by_row(path: Path) -> Iterator[Json]:
    """Each row's columns."""
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            yield from batch.to_pylist()


def write_parquet(lines: Path, out: Path, original: Path | None) -> None:
    """Write the JSONL file ``lines`` as Parquet, whole or not at all. Raises CannotRun.

    Where the rows came from Parquet, its columns are taken from there, types and all.
    """
    unfinished = out.with_name(out.name + ".partial")
    try:
        results = _result_types(lines)
        _write(_joined(lines, original, results) if original else _inferred(lines, results), unfinished)
    except (pa.ArrowException, OverflowError, OSError) as error:
        unfinished.unlink(missing_ok=True)
        raise CannotRun(
            f"{out}: cannot be written as Parquet: {str(error).splitlines()[0]}; "
            f"the rows are in {lines}, whole: rename it, or mend the column and write to .jsonl"
        ) from error
    unfinished.replace(out)


def _write(tables: Iterator[Any], file: Path) -> None:
    first = next(tables)
    with pq.ParquetWriter(file, first.schema) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table)


def _joined(lines: Path, original: Path, results: dict[str, Any]) -> Iterator[Any]:
    """The original's tables, each with its rows' results."""
    told = _read(lines)
    with _opened(original) as file:
        if not file.metadata.num_rows:
            yield _with_results(file.schema_arrow.empty_table(), [], results)
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            rows = list(itertools.islice(told, batch.num_rows))
            yield _with_results(pa.Table.from_batches([batch]).slice(0, len(rows)), rows, results)
            if len(rows) < batch.num_rows:
                return


def _inferred(lines: Path, results: dict[str, Any]) -> Iterator[Any]:
    """The lines as tables of one schema that suits them all."""
    schema = pa.schema([])
    for rows in _chunks(_read(lines)):
        seen = pa.Table.from_pylist(_passed(rows)).schema
        schema = pa.unify_schemas([schema, seen], promote_options="permissive")
    whole = pa.schema([*schema, *(pa.field(name, kind) for name, kind in results.items())])
    for rows in _chunks(_read(lines)):
        columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in whole]
        yield pa.Table.from_arrays(columns, schema=whole)


def _with_results(table: Any, rows: list[Json], results: dict[str, Any]) -> Any:
    table = table.drop_columns([name for name in RESULTS if name in table.column_names])
    for name, kind in results.items():
        table = table.append_column(pa.field(name, kind), pa.array([row.get(name) for row in rows], type=kind))
    return table


def _result_types(lines: Path) -> dict[str, Any]:
    """The result columns that occur, with their types."""
    seen: set[str] = set(ALWAYS)
    members: dict[str, None] = {}
    for row in _read(lines):
        seen.update(name for name in RESULTS if name in row)
        members |= dict.fromkeys(row.get("members", ()))
    kinds = RESULT_TYPES | {"members": pa.struct([(name, NUMBERS) for name in members])}
    return {name: kinds[name] for name in RESULTS if name in seen}


def _passed(rows: list[Json]) -> list[Json]:
    """Without the results. Every row names every column, since arrow looks at the first for the names."""
    names = dict.fromkeys(name for row in rows for name in row if name not in RESULTS)
    return [{name: row.get(name) for name in names} for row in rows]


def _chunks(rows: Iterable[Json]) -> Iterator[list[Json]]:
    """Lists of rows; one empty list where there is none, so that an empty file has its columns."""
    rows = iter(rows)
    yield list(itertools.islice(rows, ROWS_AT_ONCE))
    while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
        yield chunk


def _read(lines: Path) -> Iterator[Json]:
    with readable(lines), lines.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CannotRun(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from error
