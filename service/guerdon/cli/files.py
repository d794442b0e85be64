"""Rows from JSONL, Parquet, or standard input, one at a time."""

import base64
import contextlib
import datetime
import hashlib
import importlib
import json
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.rows import Json, Row
from guerdon.domain.errors import Malformed

JSONL = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Identity:
    """What an input file is known by, and how many rows it has."""

    rows: int
    bytes: int
    sha256: str

    def told(self) -> Json:
        """As JSON."""
        return asdict(self)


class Source(Protocol):
    """Where rows come from."""

    def rows(self) -> Generator[Row, None, None]:
        """Every row, from the first."""
        ...

    def identity(self) -> Identity | None:
        """None for what can be read only once."""
        ...


def source(name: str) -> Source:
    """What ``name`` means: a file by its extension, or ``-``. Raises CannotRun."""
    if name == STDIN:
        return StandardInput()
    path = Path(name)
    if not path.is_file():
        raise CannotRun(f"{name}: " + ("this is a folder" if path.is_dir() else "there is no such file"))
    return ParquetFile(path) if is_parquet(path) else JsonlFile(path)


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet by its extension, or else JSONL. Raises CannotRun for any other."""
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return True
    if suffix in JSONL:
        return False
    hint = "; JSON that is one object a line is called .jsonl" if suffix == ".json" else ""
    raise CannotRun(f"{path}: the name must end in .jsonl or .parquet{hint}")


class StandardInput:
    """JSONL that can be read once."""

    def rows(self) -> Generator[Row, None, None]:
        """Every row, as it arrives."""
        return _rows(sys.stdin.buffer)

    def identity(self) -> None:
        """Unknown before its end."""


class JsonlFile:
    """One JSON object a line. Empty lines are no rows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Generator[Row, None, None]:
        """Every row. A line that is no JSON object is a row with a fault."""
        with readable(self._path), self._path.open("rb") as file:
            yield from _rows(file)

    def identity(self) -> Identity:
        """Reads the whole file once."""
        digest, rows, size = hashlib.sha256(), 0, 0
        with readable(self._path), self._path.open("rb") as file:
            for line in file:
                digest.update(line)
                size += len(line)
                rows += not line.isspace()
        return Identity(rows, size, digest.hexdigest())


class ParquetFile:
    """A table; nested columns become lists and objects."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parquet: Any = parquet_module()

    def rows(self) -> Generator[Row, None, None]:
        """Every row."""
        for number, columns in enumerate(self._parquet.columns_by_row(self._path), 1):
            yield Row(number, columns)

    def identity(self) -> Identity:
        """Reads the whole file once."""
        with readable(self._path), self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Identity(self._parquet.count(self._path), self._path.stat().st_size, digest)


@contextlib.contextmanager
def reading(rows_from: Source) -> Iterator[Iterator[Row]]:
    """Its rows, while the block runs."""
    rows = rows_from.rows()
    try:
        yield rows
    finally:
        with contextlib.suppress(ValueError):  # it stands still on a thread that waits for standard input
            rows.close()


def parquet_module() -> Any:
    """What reads and writes Parquet. Raises CannotRun where pyarrow is not installed."""
    try:
        return importlib.import_module("guerdon.cli.parquet")
    except ModuleNotFoundError as error:
        raise CannotRun(f"Parquet needs {error.name}; run: pip install 'guerdon[parquet]'") from error


def line_of(row: Json) -> bytes:
    """The row as a line of JSONL. What JSON has no form for becomes text."""
    try:
        return json.dumps(row, ensure_ascii=False, default=_as_text).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which has only an escaped form
        return json.dumps(row, default=_as_text).encode() + b"\n"


def _rows(lines: Iterable[bytes]) -> Generator[Row, None, None]:
    full = ((at, line) for at, line in enumerate(lines, 1) if not line.isspace())
    for number, (at, line) in enumerate(full, 1):
        yield _row(number, at, line)


def _row(number: int, at: int, line: bytes) -> Row:
    """The row in a line of a file; the line's place is told where the row cannot be read."""
    try:
        # json, not orjson: it keeps whole numbers of any size, and NaN as Python writes it.
        columns = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return Row(number, {}, Malformed(f"line {at} is not valid JSON: {error.msg} (column {error.colno})"))
    except (ValueError, RecursionError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "too deep, or a number too long"
        return Row(number, {}, Malformed(f"line {at} is not valid JSON: {reason}"))
    if not isinstance(columns, dict):
        return Row(number, {}, Malformed(f"line {at} is not a JSON object"))
    return Row(number, columns)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
