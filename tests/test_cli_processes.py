"""The ``guerdon`` command as a process: pipes, and runs that are ended in the middle."""

import contextlib
import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from row_files import read_rows, write_rows

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def config(checkpoint, tmp_path_factory):
    """One tiny reward model."""
    settings = {"kind": "reward_model", "model": str(checkpoint("bert", seed=1)), "placement": "inline", "threads": 1}
    file = tmp_path_factory.mktemp("config") / "guerdon.yaml"
    file.write_text(yaml.safe_dump({"scorers": {"default": settings}}))
    return file


def guerdon_process(*args, **options):
    command = [sys.executable, "-m", "guerdon.cli.main", *map(str, args)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=120, **options
    )


HEARING = """
import signal
from guerdon.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command, which hears Ctrl-C even where tests run in the background, deaf to it."""


@contextlib.contextmanager
def run_until_rows(args, out, rows):
    """A run in a process of its own, with at least so many rows written. Killed if it still lives at the end."""
    command = [sys.executable, "-c", HEARING, *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 240
            while not (out.exists() and out.read_bytes().count(b"\n") >= rows):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "ending", "status"),
    [("out.jsonl", signal.SIGKILL, -9), ("out.parquet", signal.SIGKILL, -9), ("out.jsonl", signal.SIGINT, 130)],
)
def test_a_run_that_was_killed_goes_on(config, tmp_path, name, ending, status):
    """Whatever ends it in the middle: run again, no row is lost or doubled, and the end is the same."""
    rows = [{"id": at, "prompt": f"Question {at}?", "response": f"Answer {at}."} for at in range(2000)]
    origin, out = write_rows(tmp_path / "in.jsonl", rows), tmp_path / name
    lines = out if out.suffix == ".jsonl" else tmp_path / f"{name}.partial.jsonl"
    args = ("score", origin, "-o", out, "--config", config, "--batch", 5, "--in-flight", 2)
    with run_until_rows(args, lines, 30) as process:
        process.send_signal(ending)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "the same command goes on from there" in err or ending == signal.SIGKILL
    assert 30 <= lines.read_bytes().count(b"\n") < 2000
    done = guerdon_process(*args)
    assert done.returncode == 0
    assert re.search(r"going on after [\d,]+ rows", done.stderr)
    written = read_rows(out.read_text()) if out.suffix == ".jsonl" else pq.read_table(out).to_pylist()
    assert [row["id"] for row in written] == list(range(2000))
    assert all(len(row["rewards"]) == 1 for row in written)


def test_a_closed_pipe_is_no_traceback(config, tmp_path):
    """`guerdon score ... | head` ends quietly."""
    rows = [{"prompt": f"Question {at}?", "response": "Answer."} for at in range(2000)]
    origin = write_rows(tmp_path / "in.jsonl", rows)
    command = [sys.executable, "-m", "guerdon.cli.main", "score", str(origin), "-c", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(60)
    assert b"Traceback" not in err
    assert process.returncode == 1


def test_rerank_reads_standard_input(config):
    """And writes rows to standard output, the report to standard error, so that a pipe gets rows only."""
    done = guerdon_process(
        "rerank", "-", "--config", config, input=(EXAMPLES / "wrong_facts.jsonl").read_text(encoding="utf-8")
    )
    assert done.returncode == 0
    assert len(read_rows(done.stdout)) == len((EXAMPLES / "wrong_facts.jsonl").read_text(encoding="utf-8").splitlines())
    assert "best response acceptable" in done.stderr
