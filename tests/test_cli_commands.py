"""The ``guerdon`` command, as people call it: tiny models in this process, and a real server."""

import json
import re
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import uvicorn
import yaml

from guerdon.cli.places import planned
from guerdon.cli.server import application
from guerdon.cli.starter import STARTER
from guerdon.config.config import Config
from guerdon.config.load import load, parse
from guerdon.wiring import Service
from row_files import read_rows, write_rows

EXAMPLES = Path(__file__).parent.parent / "examples"
ROWS = [
    {"id": 0, "prompt": "What is 2 + 2?", "responses": ["4", "five", "I cannot help."], "acceptable": [0]},
    {"id": 1, "prompt": "Name a colour.", "chosen": "Blue.", "rejected": "No."},
    {"id": 2, "prompt": "Name a fruit.", "response": "Apple."},
]


@pytest.fixture(scope="module")
def config(checkpoint, tmp_path_factory):
    """Two tiny reward models, and an ensemble of them."""
    folders = {name: checkpoint("bert", seed=seed) for name, seed in (("one", 1), ("two", 2))}
    scorers = {
        name: {"kind": "reward_model", "model": str(folder), "placement": "inline", "device": "cpu", "threads": 1}
        for name, folder in folders.items()
    }
    settings = {
        "scorers": scorers,
        "ensembles": {"default": {"members": ["one", "two"], "calibration": "none"}},
        "limits": {"max_responses": 20, "max_inputs": 5},
    }
    file = tmp_path_factory.mktemp("config") / "guerdon.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture(scope="module")
def url(config):
    """A server of its own, on a free port."""
    app = application(Service(planned(config)))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def origin(tmp_path):
    return write_rows(tmp_path / "in.jsonl", ROWS)


def test_score_rewards_every_shape_of_row(guerdon, config, origin, tmp_path):
    """A list of rewards a row, in the order of its responses, with the ensemble's disagreement."""
    out = tmp_path / "out.jsonl"
    status, _, _ = guerdon("score", origin, "-o", out, "--config", config)
    rows = read_rows(out.read_text())
    assert status == 0
    assert [len(row["rewards"]) for row in rows] == [3, 2, 1] == [len(row["std"]) for row in rows]
    assert [{key: row[key] for key in before} for row, before in zip(rows, ROWS, strict=True)] == ROWS


def test_a_service_and_this_process_say_the_same(guerdon, config, url, origin):
    """--url and --config are two ways to one answer; without -o it goes to standard output."""
    _, here, _ = guerdon("score", origin, "--config", config, "--detail", "members")
    _, there, _ = guerdon("score", origin, "--url", url, "--detail", "members")
    assert read_rows(there) == read_rows(here)
    assert set(read_rows(here)[0]["members"]) == {"one", "two"}


def test_aggregation_is_chosen_on_the_command_line(guerdon, config, origin):
    """wco is the worst member; uwo without a coefficient is the mean."""
    _, out, _ = guerdon("score", origin, "--config", config, "--detail", "members", "--method", "wco")
    row = read_rows(out)[0]
    assert row["rewards"] == [min(pair) for pair in zip(*row["members"].values(), strict=True)]
    _, out, _ = guerdon("score", origin, "--config", config, "--coefficient", 0, "--ddof", 1)
    assert read_rows(out)[0]["rewards"] == pytest.approx(
        [sum(pair) / 2 for pair in zip(*row["members"].values(), strict=True)]
    )


@pytest.mark.parametrize("where", ["config", "url"])
def test_rows_that_fail_do_so_alone(guerdon, config, url, tmp_path, where):
    """Each of them has its error in its place, and the command says how many there are; status 3."""
    bad = [
        {"prompt": "p", "responses": ["x"] * 21},
        {"prompt": "p", "response": "word " * 600},
        {"prompt": "p", "response": "r", "reference": "gold"},
        {"prompt": "p", "chosen": "r"},
    ]
    origin = write_rows(tmp_path / "in.jsonl", [ROWS[0], *bad, *ROWS[1:]])
    place = ("--config", config) if where == "config" else ("--url", url)
    status, out, err = guerdon("score", origin, *place)
    codes = [row.get("error", {}).get("code") for row in read_rows(out)]
    too_many = "too_large" if where == "url" else None  # nobody else waits for this process: it has no limits
    assert codes == [None, too_many, "response_too_long", "unusable_field", "invalid", None, None]
    assert status == 3
    assert f"7 rows, {4 if too_many else 3} of them with an error; the first is row" in err
    assert read_rows(out)[2]["error"]["field"] == "response"


def test_a_column_that_the_model_cannot_use_may_be_ignored(guerdon, config, tmp_path):
    """The message says how."""
    origin = write_rows(tmp_path / "in.jsonl", [{**ROWS[2], "reference": "gold"}])
    status, _, err = guerdon("score", origin, "--config", config)
    assert (status, "--ignore reference" in err) == (3, True)
    status, out, _ = guerdon("score", origin, "--config", config, "--ignore", "reference")
    assert status == 0
    assert read_rows(out)[0]["reference"] == "gold"


def test_rerank_ranks_and_counts_the_acceptable(guerdon, config, tmp_path):
    """The best of each row by reward, and how often it was an acceptable one."""
    out = tmp_path / "out.jsonl"
    status, told, _ = guerdon("rerank", EXAMPLES / "wrong_facts.jsonl", "-o", out, "--config", config, "--limit", 6)
    rows = read_rows(out.read_text())
    assert status == 0
    for row in rows:
        assert [row["rewards"][at] for at in row["ranking"]] == sorted(row["rewards"], reverse=True)
        assert row["best"] == row["ranking"][0]
    hits = sum(row["best"] in row["acceptable"] for row in rows)
    assert told.startswith(f"best response acceptable: {hits} of 6 rows = {hits / 6:.1%} (95 % interval ")
    assert re.search(r"^wrong_fact +\d+ +\d of 6 rows +\d+ of \d+ = \d+%$", told, re.MULTILINE)


def test_eval_tells_accuracy_with_its_interval(guerdon, config, tmp_path):
    """On standard output for people, and as JSON for programs; by topic too."""
    file = tmp_path / "figures.json"
    status, told, _ = guerdon(
        "eval", EXAMPLES / "pairs.jsonl", "--config", config, "--by", "topic", "--by", "rejected_kind", "--json", file
    )
    figures = json.loads(file.read_text())
    assert status == 0
    assert figures["pairs"] == figures["rows"] == len((EXAMPLES / "pairs.jsonl").read_text().splitlines())
    assert figures["interval_95"][0] < figures["accuracy"] < figures["interval_95"][1]
    assert sum(group["correct"] for group in figures["by"]["topic"].values()) == figures["correct"]
    assert told.startswith(f"pair accuracy {figures['accuracy']:.1%}: {figures['correct']} of {figures['pairs']} pairs")
    assert "(Wilson)" in told


def test_eval_agrees_with_rerank(guerdon, config, tmp_path):
    """The same rewards, pair by pair; several pairs a row are drawn by rows."""
    status, told, _ = guerdon("eval", EXAMPLES / "wrong_facts.jsonl", "--config", config, "--json", "-")
    figures = json.loads(told)
    _, rows, _ = guerdon("rerank", EXAMPLES / "wrong_facts.jsonl", "--config", config)
    correct = sum(
        row["rewards"][good] > reward
        for row in read_rows(rows)
        for good in row["acceptable"]
        for at, reward in enumerate(row["rewards"])
        if at not in row["acceptable"]
    )
    assert (status, figures["correct"], figures["interval_method"]) == (0, correct, "bootstrap over rows")


def test_eval_fails_below_the_least_accuracy(guerdon, config, tmp_path):
    """For continuous integration: status 3, and the figure is told all the same."""
    origin = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "chosen": "same", "rejected": "same"}])
    status, told, err = guerdon("eval", origin, "--config", config, "--min-accuracy", 0.5)
    assert (status, "accuracy is 0.0000, below 0.5" in err, "ties 1" in told) == (3, True, True)
    status, _, _ = guerdon("eval", origin, "--config", config, "--min-accuracy", 0)
    assert status == 0


def test_eval_counts_rows_without_labels_as_errors(guerdon, config, tmp_path):
    """What cannot be compared is not left out in silence."""
    origin = write_rows(tmp_path / "in.jsonl", [ROWS[1], ROWS[2]])
    status, told, err = guerdon("eval", origin, "--config", config)
    assert (status, "1 of 1 pairs" in told or "0 of 1 pairs" in told) == (3, True)
    assert "acceptable: the row has no such column" in err
    status, _, err = guerdon("eval", write_rows(tmp_path / "none.jsonl", [ROWS[2]]), "--config", config)
    assert (status, "no pair to compare" in err) == (1, True)


def test_check_tells_the_plan_without_loading(guerdon, config):
    """Engines with where and how they run, models with their members."""
    status, told, _ = guerdon("check", "--config", config)
    assert status == 0
    assert re.search(r"^one +\S+ +cpu +float32 +inline +1 +1 +- +one$", told, re.MULTILINE)
    assert re.search(r"^default +ensemble +512 +[0-9a-f]{16} +one, two$", told, re.MULTILINE)


def test_models_are_listed_alike_here_and_there(guerdon, config, url):
    """A table of what can be called."""
    status, here, _ = guerdon("models", "--config", config)
    assert status == 0
    assert here == guerdon("models", "--url", url)[1]
    assert re.search(r"^default +ensemble +512 +- +uwo, coefficient 0.5, ddof 0 +[0-9a-f]{16} +one, two$", here, re.M)


def test_init_writes_a_configuration_that_can_be_served(guerdon, tmp_path):
    """As it is, without a trained model; and it replaces nothing unless told to."""
    file = tmp_path / "guerdon.yaml"
    assert guerdon("init", file)[0] == 0
    assert guerdon("check", "--config", file)[0] == 0
    status, _, err = guerdon("init", file)
    assert (status, "--force replaces it" in err) == (1, True)
    assert guerdon("init", file, "--force")[0] == 0


def test_the_starting_configuration_has_every_setting():
    """With the commented ones put in, it is valid, and no setting of any section is missing."""
    whole = yaml.safe_load(STARTER.replace("#: ", ""))
    parse(whole, "starter")
    known = {key for section in Config.model_json_schema()["$defs"].values() for key in section["properties"]}
    written = set(re.findall(r"(\w+):", STARTER))
    assert known - written == set()


def test_what_the_starting_configuration_calls_a_default_is_one():
    """The sections that stand in it uncommented change nothing, but for what makes it work at once."""
    config = parse(yaml.safe_load(STARTER), "starter")
    bare = parse({"scorers": {"relevance": {"kind": "relevance", "backbone": "x"}}}, "bare")
    assert (config.cache, config.limits, config.grpc, config.batching, config.workers) == (
        bare.cache, bare.limits, bare.grpc, bare.batching, bare.workers,
    )  # fmt: skip
    found, default = config.scorers["relevance"], bare.scorers["relevance"]
    differing = {key for key in type(found).model_fields if getattr(found, key) != getattr(default, key)}
    assert differing == {"backbone", "tokenizer", "dot_range"}


def test_the_starting_configuration_knows_the_shipped_backbone():
    """Its range is the one that was fitted for the built-in configuration, and the commented hash the built-in's."""
    starter = parse(yaml.safe_load(STARTER.replace("#: sha256", "sha256")), "starter").scorers["relevance"]
    builtin = load(None, {})[0].scorers["relevance"]
    assert (starter.dot_range, starter.sha256) == (builtin.dot_range, builtin.sha256)


def test_the_schema_is_that_of_configurations(guerdon):
    """For editors that check YAML."""
    status, out, _ = guerdon("init", "--schema")
    assert (status, json.loads(out)) == (0, Config.model_json_schema())


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["check", "--config", "none.yaml"], 1, "none.yaml: No such file"),
        (["score", "none.jsonl"], 1, "none.jsonl: there is no such file"),
        (["score", "in.jsonl", "-o", "out.csv"], 1, "must end in .jsonl or .parquet"),
        (["score", "in.jsonl", "--model", "defualt"], 1, "no model defualt; did you mean default?"),
        (["score", "in.jsonl", "--model", "zzz"], 1, "there are: default, one, two"),
        (["score", "in.jsonl", "--model", "one", "--method", "wco"], 1, "--method: one is a single scorer"),
        (["score", "in.jsonl", "--coefficient", "-1"], 1, "--coefficient: Input should be greater than or equal to 0"),
        (["score", "in.jsonl", "--coefficient", "nan"], 1, "--coefficient: Input should be a finite number"),
        (["eval", "pairs.jsonl", "--by", "topik"], 1, "no column topik; did you mean topic?"),
        (["score", "in.jsonl", "--url", "localhost:8000"], 1, "starts with http:// or https://"),
        (["score", "in.jsonl", "--url", "http://127.0.0.1:1"], 1, "no Guerdon service answers there"),
        (["score", "in.jsonl", "--url", "http://[::1"], 1, "--url http://[::1"),
        (["score"], 2, "Missing argument"),
        (["scoer"], 2, "No such command 'scoer'"),
        (["score", "in.jsonl", "--metod", "wco"], 2, "--method"),
        (["score", "in.jsonl", "--method", "worst"], 2, "'mean', 'median', 'wco', 'uwo'"),
        (["score", "in.jsonl", "--method", "wco", "--coefficient", "1"], 1, "wco has no use for coefficient"),
        (["score", "in.jsonl", "--aggregation", "{"], 1, "--aggregation: not valid JSON"),
        (["score", "in.jsonl", "--batch", "0"], 2, "--batch"),
        (["score", "in.jsonl", "--url", "http://a", "--config", "b"], 2, "either --config or --url"),
        (["score", "in.jsonl", "--config", "b", "--url", "http://a"], 2, "either --config or --url"),
    ],
)
def test_a_mistake_is_told_in_a_line(guerdon, config, tmp_path, monkeypatch, args, status, words):
    """What is wrong and what would do; status 1 for what cannot run, 2 for a wrong command line."""
    write_rows(tmp_path / "in.jsonl", ROWS)
    write_rows(tmp_path / "pairs.jsonl", [{**ROWS[1], "topic": "colours"}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUERDON_CONFIG", str(config))
    found, _, err = guerdon(*args)
    assert (found, words in err) == (status, True), err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scorer": {}}, "unknown key `scorer`; did you mean `scorers`?"),
        ({"scorers": {"a": {"kind": "relevance", "backbone": "x", "devise": "cpu"}}}, "did you mean `device`?"),
        ({"scorers": {"a": {"kind": "reward_model", "model": "./none"}}}, "scorers.a: ./none: there is no such folder"),
    ],
)
def test_a_wrong_configuration_is_told_by_check(guerdon, tmp_path, settings, words):
    """The exact key, and the nearest valid one."""
    file = tmp_path / "guerdon.yaml"
    file.write_text(yaml.safe_dump(settings))
    status, _, err = guerdon("check", "--config", file)
    assert (status, words in err) == (1, True), err


@pytest.mark.parametrize("command", ["serve", "check", "models", "init", "score", "rerank", "eval"])
def test_every_command_has_help_with_examples(guerdon, command):
    """One or two lines that can be copied."""
    status, told, _ = guerdon(command, "--help")
    assert status == 0
    assert re.search(rf"Examples:\n +guerdon {command}", told)


def test_parquet_goes_in_and_comes_out(guerdon, config, origin, tmp_path):
    """Rows keep their columns on the way through both kinds of file."""
    middle, out = tmp_path / "middle.parquet", tmp_path / "out.parquet"
    assert guerdon("score", origin, "-o", middle, "--config", config, "--detail", "members")[0] == 0
    assert guerdon("score", middle, "-o", out, "--config", config, "--model", "one")[0] == 0
    before, after = pq.read_table(middle).to_pylist(), pq.read_table(out).to_pylist()
    assert [row["members"]["one"] for row in before] == [row["rewards"] for row in after]
    assert [row["id"] for row in after] == [0, 1, 2]
    assert "members" not in after[0]
