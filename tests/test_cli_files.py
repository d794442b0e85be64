"""Runs over files, with rewards that are made up: the length of each response."""

import asyncio
import contextlib
import datetime
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.cli.faults import CannotRun
from guerdon.cli.files import line_of, source
from guerdon.cli.job import Job, run
from guerdon.cli.options import Asking, Options
from guerdon.cli.output import opened, state_file
from guerdon.cli.rows import scored
from guerdon.cli.scoring import Request
from guerdon_client import GuerdonError


class Lengths:
    """Rewards a response by its length, and is out of service after ``lasts`` requests.

    Answers come back in any order, so that the order of rows is the pipeline's work.
    """

    def __init__(self, lasts=None):
        self.lasts, self.asked, self.most_at_once, self._now = lasts, 0, 0, 0
        self._random = random.Random(0)

    def cards(self):
        return []

    @contextlib.asynccontextmanager
    async def opened(self, request):
        yield self

    async def score(self, inputs):
        self.asked += 1
        if self.lasts is not None and self.asked > self.lasts:
            raise GuerdonError("deadline_exceeded", "gone")
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        for _ in range(self._random.randrange(20)):
            await asyncio.sleep(0)
        self._now -= 1
        return [{"rewards": [float(len(response)) for response in each["responses"]]} for each in inputs]


def asking(place, *, model="m", revision="1", **options):
    card = {"id": model, "revision": revision, "limits": {"max_inputs": 100}}
    return Asking(place, card, Request(model=model), None, Options(model=model, **{"batch": 4, **options}))


def scoring(origin, out, place=None, *, overwrite=False, **options):
    job = Job(command="score", origin=str(origin), out=str(out), overwrite=overwrite, written=scored)
    return run(job, asking(place or Lengths(), **options))


def write_rows(path, rows):
    path.write_bytes(b"".join(map(line_of, rows)))
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def some_rows(count):
    return [{"id": at, "prompt": "p", "response": "x" * (at % 7)} for at in range(count)]


def rewarded(rows):
    return [{**row, "rewards": [float(len(row["response"]))]} for row in rows]


@pytest.fixture
def origin(tmp_path):
    return write_rows(tmp_path / "in.jsonl", some_rows(50))


def test_rows_are_written_in_the_order_of_the_input(origin, tmp_path):
    """However the answers arrive; and several requests are under way at a time, but no more than allowed."""
    place = Lengths()
    scoring(origin, tmp_path / "out.jsonl", place, batch=2, in_flight=5)
    assert read_rows(tmp_path / "out.jsonl") == rewarded(some_rows(50))
    assert 1 < place.most_at_once <= 5


def test_the_state_is_gone_when_all_is_written(origin, tmp_path):
    """What lies beside OUT speaks of unfinished runs only."""
    scoring(origin, tmp_path / "out.jsonl")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_run_goes_on_where_the_service_went_away(origin, tmp_path, suffix):
    """No row is lost, doubled, or marked with an error that is not its own."""
    out = tmp_path / f"out.{suffix}"
    with pytest.raises(CannotRun, match=r"written, the same command goes on from there"):
        scoring(origin, out, Lengths(lasts=6), in_flight=1)
    place = Lengths()
    count = scoring(origin, out, place, in_flight=1)
    assert count.rows == 50
    assert place.asked == 7
    found = read_rows(out) if suffix == "jsonl" else pq.read_table(out).drop_columns("error").to_pylist()
    assert found == rewarded(some_rows(50))


@pytest.mark.parametrize("kept", range(0, 200, 7))
def test_a_torn_last_line_is_written_anew(origin, tmp_path, kept):
    """Wherever a killed run was cut off, the next one ends with the same file."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=6), in_flight=1)
    out.write_bytes(out.read_bytes()[:kept])
    scoring(origin, out)
    assert read_rows(out) == rewarded(some_rows(50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "model was m, now it is other"),
        ({"revision": "2"}, "revision was 1, now it is 2"),
        ({"ignore": ["topic"]}, "ignored columns was"),
    ],
)
def test_other_settings_do_not_go_on_with_a_run(origin, tmp_path, change, words):
    """Half a file by one model and half by another would be worth nothing; --overwrite starts anew."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=2), in_flight=1)
    with pytest.raises(CannotRun, match=words):
        scoring(origin, out, **change)
    scoring(origin, out, overwrite=True, **change)
    assert read_rows(out) == rewarded(some_rows(50))


def test_another_input_does_not_go_on_with_a_run(origin, tmp_path):
    """Even one of the same length."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=2))
    write_rows(origin, [{**row, "prompt": "q"} for row in some_rows(50)])
    with pytest.raises(CannotRun, match="the input has changed"):
        scoring(origin, out)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_that_is_not_ours_is_never_written_over(origin, tmp_path, suffix):
    """A finished output, or anything else that has the name, needs --overwrite."""
    out = tmp_path / f"out.{suffix}"
    scoring(origin, out)
    before = out.read_bytes()
    with pytest.raises(CannotRun, match=r"out\.\w+ exists.*--overwrite"):
        scoring(origin, out)
    assert out.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", out.name]


def test_a_run_that_wrote_nothing_is_in_nobodys_way(origin, tmp_path):
    """One that failed before its first row, say for want of a model, leaves nothing to go on with."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=0))
    scoring(origin, out, model="other")
    assert read_rows(out) == rewarded(some_rows(50))


def test_two_runs_cannot_write_one_file(origin, tmp_path):
    """The second is told of the first."""
    out, identity = tmp_path / "out.jsonl", source(str(origin)).identity()
    settings = {"command": "score", **asking(Lengths()).settings()}
    with (
        opened(str(out), str(origin), identity, settings, overwrite=False),
        pytest.raises(CannotRun, match="another run is writing it"),
    ):
        scoring(origin, out)


def test_a_damaged_output_is_not_gone_on_with(origin, tmp_path):
    """A whole line that is no JSON was not written by us."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=2), in_flight=1)
    out.write_bytes(b"nonsense\n" + out.read_bytes())
    with pytest.raises(CannotRun, match="line 1 is damaged"):
        scoring(origin, out)
    state_file(out).write_text("{")
    with pytest.raises(CannotRun, match="is damaged"):
        scoring(origin, out)


def test_a_limit_only_says_where_to_stop(origin, tmp_path):
    """An unfinished run may be gone on with to another row than was planned."""
    out = tmp_path / "out.jsonl"
    with pytest.raises(CannotRun):
        scoring(origin, out, Lengths(lasts=2), in_flight=1, limit=30)
    scoring(origin, out, limit=41)
    assert read_rows(out) == rewarded(some_rows(41))


def test_bad_rows_become_errors_in_their_place(tmp_path):
    """A line that is no JSON, an empty object, a wrong type: each costs its own row only. Empty lines are no rows."""
    origin, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    origin.write_bytes(
        b'\xef\xbb\xbf{"prompt": "p", "response": "good"}\r\n\n{"prompt": \n[1]\n   \n'
        b'{"prompt": "p", "response": 7}\n{"prompt": "\xff"}\n' + b"[" * 100_000 + b'\n{"prompt": "p", "response": "x"}'
    )
    count = scoring(origin, out)
    rows = read_rows(out)
    assert [row.get("error", {}).get("code") for row in rows] == [
        None, "malformed", "malformed", "invalid", "malformed", "malformed", None,
    ]  # fmt: skip
    assert rows[1]["error"]["message"].startswith("line 3 is not valid JSON")
    assert rows[3] == {"prompt": "p", "response": 7, "error": rows[3]["error"]}
    assert (count.rows, count.errors) == (7, 5)
    assert count.first_error.startswith("row 2: malformed: line 3")


def test_what_json_can_hold_passes_through_unchanged(tmp_path):
    """Whole numbers of any size, NaN as Python writes it, and half a surrogate pair."""
    origin, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = '{"prompt": "p", "response": "é", "n": 123456789012345678901234567890, "x": NaN, "s": "\\ud800"}'
    origin.write_text(line + "\n", encoding="utf-8")
    scoring(origin, out)
    (row,) = read_rows(out)
    assert row["n"] == 123456789012345678901234567890
    assert row["s"] == "\ud800"
    assert row["x"] != row["x"]
    assert row["rewards"] == [1.0]


def test_parquet_keeps_its_columns_and_their_types(tmp_path):
    """Whatever a table holds, JSON or not, comes out of it as it went in."""
    table = pa.table(
        {
            "prompt": ["p"] * 3000,
            "responses": [["a", "bb"]] * 2999 + [None],
            "day": [datetime.date(2024, 2, 29)] * 3000,
            "small": pa.array([1] * 3000, pa.int8()),
            "raw": [b"\x00\xff"] * 3000,
            "rewards": ["old"] * 3000,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    scoring(tmp_path / "in.parquet", tmp_path / "out.parquet", batch=100)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(["prompt", "responses", "day", "small", "raw"]) == table.drop_columns("rewards")
    assert out["rewards"].to_pylist() == [[1.0, 2.0]] * 2999 + [None]
    assert out["error"].to_pylist()[2998:] == [
        None,
        {
            "code": "invalid",
            "message": "responses: the row has no `responses`, `response`, or `chosen` and `rejected`; "
            "it has prompt, day, small, raw, rewards",
            "field": "responses",
        },
    ]


def test_parquet_to_jsonl_and_back(tmp_path):
    """A file may change its kind on the way; turns are lists of objects in both."""
    turns = [{"role": "user", "content": "p"}]
    rows = [{"messages": turns, "response": "abc", "day": datetime.date(2024, 1, 2), "n": None}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    scoring(tmp_path / "in.parquet", tmp_path / "middle.jsonl")
    expected = {"messages": turns, "response": "abc", "day": "2024-01-02", "n": None, "rewards": [3.0]}
    assert read_rows(tmp_path / "middle.jsonl") == [expected] * 3
    scoring(tmp_path / "middle.jsonl", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{**expected, "error": None}] * 3


def test_jsonl_columns_that_appear_late_have_their_place_in_parquet(tmp_path):
    """A column that is missing, null, whole or broken from row to row has one type in the end."""
    rows = [{**row, "n": None if at < 1500 else at} for at, row in enumerate(some_rows(3000))]
    rows += [{**rows[0], "late": {"a": 1.5}}, {"prompt": "p"}]
    write_rows(tmp_path / "in.jsonl", rows)
    scoring(tmp_path / "in.jsonl", tmp_path / "out.parquet", batch=100)
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["n"] for row in found[1499:1502]] == [None, 1500, 1501]
    assert found[3000]["late"] == {"a": 1.5}
    assert found[3001]["error"]["code"] == "invalid"


@pytest.mark.parametrize("mixed", [[1, "a"], [{}, {}], [2**70, 1]])
def test_what_parquet_cannot_hold_costs_no_row(tmp_path, mixed):
    """The rewarded rows are kept as JSONL, and the message says where."""
    write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "response": "r", "mixed": value} for value in mixed])
    with pytest.raises(CannotRun, match=r"cannot be written as Parquet.*out\.parquet\.partial\.jsonl") as caught:
        scoring(tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert "\n" not in str(caught.value)
    assert len(read_rows(tmp_path / "out.parquet.partial.jsonl")) == 2
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"nonsense\n"])
def test_a_file_without_a_good_row_is_still_a_run(tmp_path, content, suffix):
    """Nothing in, nothing out; or its errors out."""
    (tmp_path / "in.jsonl").write_bytes(content)
    count = scoring(tmp_path / "in.jsonl", tmp_path / f"out.{suffix}")
    assert count.rows == (1 if content.strip() else 0)
    assert (tmp_path / f"out.{suffix}").exists()


def test_an_empty_table_keeps_its_columns(tmp_path):
    """A shard without rows still fits to the others."""
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "in.parquet")
    scoring(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").names == ["prompt", "rewards", "error"]


@pytest.mark.parametrize(
    ("origin", "out", "words"),
    [
        ("none.jsonl", "out.jsonl", "none.jsonl: there is no such file"),
        (".", "out.jsonl", "this is a folder"),
        ("in.json", "out.jsonl", "is called .jsonl"),
        ("in.jsonl", "out.csv", "must end in .jsonl or .parquet"),
        ("in.jsonl", "nowhere/out.jsonl", "there is no folder"),
        ("in.jsonl", "in.jsonl", "input and output are the same file"),
        ("broken.parquet", "out.parquet", "not readable as Parquet"),
    ],
)
def test_a_wrong_file_is_said_to_be_wrong(tmp_path, origin, out, words):
    """Before anything is asked of anybody."""
    write_rows(tmp_path / "in.jsonl", some_rows(3))
    for name in ("in.json", "broken.parquet"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(CannotRun, match=words.replace(".", r"\.")):
        scoring(tmp_path / origin, tmp_path / out)


def test_no_more_rows_are_held_than_are_under_way(tmp_path):
    """Reading stays a few requests ahead of writing, however long the file is."""
    place, ahead = Lengths(), []
    origin = write_rows(tmp_path / "in.jsonl", some_rows(2000))

    def written(row, item):
        ahead.append(place.asked * 4 - row["id"])
        return scored(row, item)

    job = Job(command="score", origin=str(origin), out=str(tmp_path / "o.jsonl"), overwrite=False, written=written)
    run(job, asking(place, batch=4, in_flight=3))
    assert max(ahead) <= 3 * 4
