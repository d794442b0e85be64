"""Writes output rows so that a run that was cut off can go on, and never onto a file that is not its own."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.files import STDIN, Identity, is_parquet, line_of, parquet_module
from guerdon.cli.rows import Json

if sys.platform != "win32":
    import fcntl


class Output(Protocol):
    """Where output rows go, in order."""

    def earlier(self) -> Iterator[Json]:
        """Rows that an earlier run has written already."""
        ...

    def write(self, rows: Sequence[Json]) -> None:
        """Write whole rows."""
        ...

    def finish(self) -> None:
        """All rows are written."""
        ...


class StandardOutput:
    """JSONL that nobody can resume."""

    def earlier(self) -> Iterator[Json]:
        """None."""
        return iter(())

    def write(self, rows: Sequence[Json]) -> None:
        """Write and flush."""
        sys.stdout.buffer.write(b"".join(map(line_of, rows)))
        sys.stdout.buffer.flush()

    def finish(self) -> None:
        """Nothing is left to do."""


class FileOutput:
    """A file with its state beside it, which says what the rows so far were made from.

    Parquet cannot be appended to: its rows go into a JSONL file first, and are converted at the end.
    """

    def __init__(self, out: Path, origin: str, lines: IO[bytes], parquet: bool) -> None:
        self._out, self._origin, self._lines, self._parquet = out, origin, lines, parquet

    def earlier(self) -> Iterator[Json]:
        """The complete rows; a torn last line has been cut off."""
        with _lines_file(self._out, self._parquet).open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise CannotRun(f"{file.name}: line {number} is damaged; --overwrite starts anew") from error

    def write(self, rows: Sequence[Json]) -> None:
        """Append whole lines, and hand them to the system at once."""
        try:
            self._lines.write(b"".join(map(line_of, rows)))
            self._lines.flush()
        except OSError as error:
            raise CannotRun(f"{self._out}: {error.strerror}") from error

    def finish(self) -> None:
        """Convert if need be, then forget the state."""
        lines = _lines_file(self._out, self._parquet)
        if self._parquet:
            original = Path(self._origin) if self._origin != STDIN and is_parquet(Path(self._origin)) else None
            parquet_module().write_parquet(lines, self._out, original)
        state_file(self._out).unlink(missing_ok=True)
        if self._parquet:
            lines.unlink()


def state_file(out: Path) -> Path:
    """What the rows in ``out`` were made from, while they are not complete."""
    return out.with_name(out.name + ".state.json")


@contextlib.contextmanager
def opened(
    out: str | None, origin: str, identity: Identity | None, settings: Json, *, overwrite: bool
) -> Iterator[Output]:
    """The output: fresh, or with the rows of an earlier run of the same input and settings. Raises CannotRun."""
    if out is None:
        yield StandardOutput()
        return
    path, state = Path(out), {"input": identity.told() if identity else None, "settings": settings}
    parquet = is_parquet(path)
    if parquet:
        parquet_module()
    _refuse_place(path, origin)
    lines_file = _lines_file(path, parquet)
    resumes = not overwrite and _has_bytes(lines_file) and _resumes(path, state)
    if not resumes and not overwrite:
        _refuse_existing(path, lines_file)
    with readable(path), lines_file.open("ab") as lines:
        _lock(lines, path)
        if resumes:
            _cut_torn_line(lines)
        else:
            _begin(path, state, lines)
        yield FileOutput(path, origin, lines, parquet)


def _refuse_place(path: Path, origin: str) -> None:
    if not path.parent.is_dir():
        raise CannotRun(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise CannotRun(f"{path}: this is a folder")
    if path.exists() and Path(origin).exists() and path.samefile(origin):
        raise CannotRun(f"{path}: input and output are the same file")


def _resumes(out: Path, state: Json) -> bool:
    """Whether an earlier run of the same is to be gone on with. Raises CannotRun where it is another's."""
    if not state_file(out).exists():
        return False
    with readable(state_file(out)):
        text = state_file(out).read_text(encoding="utf-8")
    try:
        earlier = json.loads(text)
        changes = _changes(earlier["input"], state["input"]) + _changes(earlier["settings"], state["settings"])
    except (ValueError, KeyError, TypeError, AttributeError):
        changes = [f"{state_file(out)} is damaged"]
    if changes:
        raise CannotRun(
            f"{out} holds an unfinished run that this one cannot go on with: {'; '.join(changes)}. "
            "--overwrite starts anew"
        )
    return state["input"] is not None


def _changes(earlier: Json | None, now: Json | None) -> list[str]:
    if earlier is None or now is None:
        return [] if earlier == now else ["it read another input"]
    if earlier.get("sha256") != now.get("sha256"):
        return ["the input has changed"]
    return [f"{key} was {earlier.get(key)}, now it is {now[key]}" for key in now if earlier.get(key) != now[key]]


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if _has_bytes(file):
            raise CannotRun(f"{file} exists, and is no unfinished run that could go on; --overwrite replaces it")


def _has_bytes(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _begin(out: Path, state: Json, lines: IO[bytes]) -> None:
    """Start with no rows; with the state first, so that no row is ever without it."""
    lines.truncate(0)
    unfinished = state_file(out).with_suffix(".tmp")
    unfinished.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(state_file(out))


def _cut_torn_line(lines: IO[bytes]) -> None:
    """A run that was killed may have left half a line."""
    with Path(lines.name).open("rb") as file:
        end = whole = file.seek(0, 2)
        tail = b""
        while end and b"\n" not in tail:
            end = max(0, end - (1 << 16))
            file.seek(end)
            tail = file.read(1 << 16)
            whole = end + tail.rfind(b"\n") + 1
    lines.truncate(whole)


def _lines_file(out: Path, parquet: bool) -> Path:
    return out.with_name(out.name + ".partial.jsonl") if parquet else out


def _lock(lines: IO[bytes], out: Path) -> None:
    """One run at a time: two would double rows. The system lets go of the lock when its holder dies."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotRun(f"{out}: another run is writing it") from error
