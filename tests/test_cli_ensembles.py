"""``guerdon calibrate`` and ``guerdon bon``, as people call them."""

import hashlib
import json
import re

import numpy as np
import pytest
import yaml

from guerdon.cli.moments import Moments, independent
from row_files import write_rows

RNG = np.random.default_rng(0)
ROWS = [{"prompt": f"Question {i}?", "responses": ["yes " * (1 + i % 5), "no", f"{i} {i}"]} for i in range(20)]


@pytest.fixture(scope="module")
def config(checkpoint, tmp_path_factory):
    """Two uncalibrated models, an ensemble of them, and the same model twice."""
    scorers = {
        name: {"kind": "reward_model", "model": str(checkpoint("bert", seed=seed)), "placement": "inline",
               "device": "cpu", "threads": 1}
        for name, seed in (("one", 1), ("two", 2), ("again", 1))
    }  # fmt: skip
    settings = {
        "scorers": scorers,
        "ensembles": {"default": {"members": ["one", "two"]}, "echo": {"members": ["one", "again"]}},
    }
    file = tmp_path_factory.mktemp("config") / "guerdon.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def configured(config, tmp_path, **more):
    """The configuration with more in it, in a folder of its own."""
    file = tmp_path / "guerdon.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | more))
    return file


def test_an_ensemble_is_calibrated_and_then_served(guerdon, config, tmp_path):
    """Refused at first; measured; then its members have mean 0 and standard deviation 1 on the same rows."""
    origin, out = write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "calibration.json"
    status, _, err = guerdon("score", origin, "--config", config)
    assert status == 1
    assert "guerdon calibrate" in err
    status, told, err = guerdon("calibrate", origin, "--config", config, "-o", out)
    assert status == 0, err
    written = json.loads(out.read_text())
    assert written["data"] == {
        "name": "rows.jsonl", "sha256": hashlib.sha256(origin.read_bytes()).hexdigest(), "rows": 20,
    }  # fmt: skip
    assert {member["responses"] for member in written["members"].values()} == {60}
    assert re.search(r"worth [12]\.\d\d independent members of 2", told)
    calibrated = configured(config, tmp_path, calibration_file="calibration.json",
                            ensembles={"default": {"members": ["one", "two"]}})  # fmt: skip
    status, out_rows, err = guerdon("score", origin, "--config", calibrated, "--detail", "members")
    assert status == 0, err
    scored = [json.loads(line)["members"] for line in out_rows.splitlines()]
    for name in ("one", "two"):
        scores = [score for row in scored for score in row[name]]
        assert (np.mean(scores), np.std(scores)) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_members_that_cannot_disagree_are_told_of(guerdon, config, tmp_path):
    """The same model twice is worth one."""
    origin, out = write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "calibration.json"
    status, told, _ = guerdon("calibrate", origin, "--config", config, "--model", "echo", "-o", out)
    assert status == 0
    assert "worth 1.00 independent members of 2" in told
    assert "can hardly disagree" in told


def test_a_calibration_of_something_else_is_refused(guerdon, config, tmp_path):
    """Another revision, a broken file, no file, or a second calibration in the configuration."""
    origin, out = write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "calibration.json"
    assert guerdon("calibrate", origin, "--config", config, "-o", out)[0] == 0
    written = json.loads(out.read_text())
    ensembles = {"default": {"members": ["one", "two"]}}
    file = configured(config, tmp_path, calibration_file="calibration.json", ensembles=ensembles)
    written["members"]["one"]["revision"] = "0" * 16
    out.write_text(json.dumps(written))
    status, _, err = guerdon("check", "--config", file)
    assert (status, "one was measured as revision 0000000000000000" in err) == (1, True)
    for text, message in (("{", "Invalid JSON"), ('{"members": {}}', "data"), (None, "No such file")):
        out.unlink() if text is None else out.write_text(text)
        status, _, err = guerdon("check", "--config", file)
        assert (status, message in err) == (1, True), err


def test_an_ensemble_in_an_ensemble_is_refused(guerdon, config, tmp_path):
    """Its members can be named instead."""
    nested = configured(config, tmp_path, ensembles={
        "inner": {"members": ["one", "two"], "calibration": "none"}, "outer": {"members": ["inner", "one"]},
    })  # fmt: skip
    status, _, err = guerdon("check", "--config", nested)
    assert status == 1
    assert "ensembles.outer.members: inner is an ensemble itself: name its members" in err


def test_moments_are_those_of_all_vectors_together():
    """However they are cut; and correlations are numpy's."""
    vectors = RNG.normal(size=(97, 3)) @ RNG.normal(size=(3, 3)) + 100
    moments = Moments(3)
    for block in np.split(vectors, [1, 2, 40]):
        moments.add(block.tolist())
    assert moments.count == 97
    assert moments.mean == pytest.approx(vectors.mean(0))
    assert moments.std == pytest.approx(vectors.std(0))
    assert moments.correlations == pytest.approx(np.corrcoef(vectors.T))


def test_independent_members_by_hand():
    """Three that do not correlate are three, three alike are one, two at 0.5 are 4 / 2.5."""
    assert independent(np.eye(3)) == 3
    assert independent(np.ones((3, 3))) == 1
    assert independent(np.array([[1, 0.5], [0.5, 1]])) == pytest.approx(1.6)


def test_the_curve_of_a_scored_file(guerdon, tmp_path):
    """The golden four responses; all is told as a table, as JSON and as a picture."""
    rows = [{"prompt": "p", "rewards": [0.1, 0.4, 0.2, 0.9], "gold": [1, 3, 2, 0]}] * 2
    origin, picture = write_rows(tmp_path / "scored.jsonl", rows), tmp_path / "curve.png"
    status, told, err = guerdon("bon", origin, "--gold", "gold", "--plot", picture)
    assert status == 0, err
    assert re.search(r"^ *4 +0\.636 +0\.0000 \+-0\.0000$", told, re.M)
    assert "rewards: gold is highest at n = 1, and 1.5000 lower at n = 4" in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    _, text, _ = guerdon("bon", origin, "--gold", "gold", "--n", "1,2,3,4", "--json", "-")
    figures = json.loads(text)
    assert figures["curves"]["rewards"]["gold"] == pytest.approx([1.5, 4 / 3, 0.75, 0])
    assert figures["kl_bound"][1] == pytest.approx(0.19315, abs=5e-6)


def test_curves_by_aggregations_of_stored_members(guerdon, tmp_path):
    """Three ways to choose from one scored file: by the worst member, the gold-best response is chosen."""
    row = {"prompt": "p", "rewards": [0, 0, 0], "members": {"a": [9, 1, 0], "b": [-5, 1, 0]}, "gold": [0, 2, 1]}
    origin = write_rows(tmp_path / "scored.jsonl", [row])
    _, text, _ = guerdon(
        "bon", origin, "--gold", "gold", "--by", "mean", "--by", "wco", "--by", "uwo:0.5", "--n", "3", "--json", "-"
    )
    curves = json.loads(text)["curves"]
    assert {name: curve["gold"] for name, curve in curves.items()} == {"mean": [0], "wco": [2], "uwo:0.5": [2]}


@pytest.mark.parametrize(
    ("row", "options", "told"),
    [
        ({"rewards": [1]}, ["--gold", "gold"], "row 1: gold: a list of numbers"),
        ({"rewards": [1], "gold": [1, 2]}, ["--gold", "gold"], "1 rewards and 2 in gold"),
        ({"rewards": "1"}, [], "row 1: rewards: a list of numbers"),
        ({"rewards": [1, None]}, [], "row 1: rewards[1]: a finite number is needed, and this is None"),
        ({"rewards": [1.7e308, 1.7e308]}, [], "too large for their mean"),
        ({"members": {"a": [1], "b": [1, 2]}}, ["--by", "wco"], "row 1: members: 1 of a and 2 of b"),
        ({"members": {"a": [1e308], "b": [-1e308]}}, ["--by", "uwo"], "too far apart for uwo"),
        ({"members": {"a": [1], "b": [1]}}, ["--by", "lcb:7"], "--by lcb:7: coefficient: at most 1"),
        ({"members": {"a": [1]}, "member_errors": [{"member": "b"}]}, ["--by", "wco"], "1 with members missing"),
        ({"rewards": [1]}, ["--by", "wco"], "score the file with --detail members"),
        ({"members": {"a": [1]}}, ["--by", "wko"], "--by wko"),
        ({"rewards": [1, 2]}, ["--n", "3"], "from 1 to 2"),
        ({"rewards": [1, 2]}, ["--n", "a"], "whole numbers"),
        ({"error": {"code": "x"}}, [], "no row with rewards; left out: 1 with an error"),
    ],
)
def test_what_has_no_curve_is_told_why(row, options, told, guerdon, tmp_path):
    """The row, the column and what was expected."""
    origin = write_rows(tmp_path / "scored.jsonl", [row])
    status, _, err = guerdon("bon", origin, *options)
    assert status == 1
    assert told in err


def test_rows_of_other_members_have_no_curve_together(guerdon, tmp_path):
    """An ensemble of two and one of one are not averaged; rows with errors are told of."""
    rows = [{"members": {"a": [1], "b": [2]}}, {"error": {"code": "x"}}, {"members": {"a": [1]}}]
    origin = write_rows(tmp_path / "scored.jsonl", rows)
    status, _, err = guerdon("bon", origin, "--by", "mean")
    assert (status, "row 3: members: a; the rows before have a, b" in err) == (1, True)
    origin = write_rows(tmp_path / "two.jsonl", rows[:2])
    status, told, err = guerdon("bon", origin, "--by", "mean")
    assert status == 0
    assert "1 rows; left out: 1 with an error" in err
    assert "+-" not in told


def test_an_empty_file_has_no_curve(guerdon, tmp_path):
    """Nor a picture."""
    status, _, err = guerdon("bon", write_rows(tmp_path / "none.jsonl", []))
    assert (status, "there is no row with rewards" in err) == (1, True)


def test_degraded_rewards_are_told_in_files(guerdon, config, tmp_path):
    """Who is missing and why, in the row; how many rows, at the end. Calibration takes no such row."""
    settings = yaml.safe_load(config.read_text())["scorers"]
    settings["two"]["max_tokens"] = 24
    lenient = {"members": ["one", "two"], "calibration": "none", "on_member_failure": "degrade"}
    file = configured(config, tmp_path, scorers=settings, ensembles={"default": lenient})
    long = {"prompt": "Question?", "responses": ["yes", "no " * 40]}
    origin, out = write_rows(tmp_path / "rows.jsonl", [*ROWS, long]), tmp_path / "calibration.json"
    status, told, err = guerdon("score", origin, "--config", file, "--detail", "members")
    assert status == 0
    assert "21 rows, 1 of them with rewards that members are missing from" in err
    row = json.loads(told.splitlines()[-1])
    assert row["members_used"] == [["one", "two"], ["one"]]
    assert row["member_errors"][0]["code"] == "response_too_long"
    assert row["members"]["two"][1] is None
    status, told, err = guerdon("score", origin, "--config", file, "--on-member-failure", "error")
    assert (status, "response_too_long" in err) == (3, True)
    status, _, err = guerdon("calibrate", origin, "--config", file, "-o", out)
    assert (status, "1 of them with an error" in err) == (3, True)
    assert json.loads(out.read_text())["data"]["rows"] == 20


def test_calibration_asks_members_and_not_their_ensemble(guerdon, config, tmp_path):
    """An ensemble that ranks can be calibrated on single responses; how members combine is no option of it."""
    ranking = {"members": ["one", "two"], "calibration": "none", "aggregation": {"method": "borda"}}
    file = configured(config, tmp_path, ensembles={"default": ranking})
    origin = write_rows(tmp_path / "rows.jsonl", [{"prompt": "p", "response": "yes " * i} for i in range(1, 5)])
    status, _, err = guerdon("calibrate", origin, "--config", file, "-o", tmp_path / "calibration.json")
    assert status == 0, err
    assert guerdon("calibrate", origin, "--config", file, "-o", tmp_path / "c.json", "--method", "wco")[0] == 2
