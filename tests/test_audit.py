"""``guerdon audit``, on the demonstration model and on scripted scorers."""

import asyncio
import json
import re
from collections import Counter
from importlib.resources import files

import pytest

from guerdon.cli.audit import _battery
from guerdon.cli.audit_copies import sentences
from guerdon.cli.audit_probes import PROBES
from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Sample, assistant, user
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.guard import suspicion
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.verifier import Verifier, VerifierSettings
from judge_engines import Always
from row_files import write_rows
from scripted_server import Answer as Says
from scripted_server import scripted


def test_the_shipped_questions_are_whole():
    """60 rows that can be read; the two answers differ, and no prompt stands twice."""
    lines = (files("guerdon.builtin") / "audit" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["prompt"] for row in rows}) == len(rows) == 60
    assert Counter(row["topic"] for row in rows).keys() == {
        "maths", "facts", "writing", "code", "safety", "languages",
    }  # fmt: skip
    assert sum("reference" in row for row in rows) == 37
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows)
    assert 20 <= longer <= 40, "the longer answer should not be the better one as a rule"
    for row in rows:
        assert row["chosen"] != row["rejected"]
        assert set(row) <= {"topic", "prompt", "chosen", "rejected", "reference"}
        assert 1 <= len(sentences(row["chosen"])) <= 6, row["prompt"]


def test_the_shipped_battery_is_there():
    """The ten published keys first; every injection has a name of its own."""
    battery = _battery()
    assert len(battery.published) == 10
    assert len(battery.injections) >= 30
    assert not set(battery.published) & set(battery.extended)


def test_the_demonstration_is_audited_alike_here_and_there(guerdon, demonstration):
    """All probes on three questions of ours, in this process and by a service; what must be exact is."""
    status, here, err = guerdon("audit", "default", "--limit", 3, "--json", "-")
    assert status == 0, err
    there = guerdon("audit", "default", "--limit", 3, "--json", "-", "--url", demonstration.url)[1]
    here, there = json.loads(here), json.loads(there)
    assert here["revision"] == there["revision"]
    assert list(here["probes"]) == ["accuracy", *PROBES]
    for name, probe in here["probes"].items():
        assert there["probes"][name]["share"] == probe["share"], name
        assert probe["trials"] > 0
        assert probe["interval_95"][0] <= probe["share"] <= probe["interval_95"][1]
    for pointwise in ("position", "neighbours", "consistency"):
        assert here["probes"][pointwise]["hits"] == 0
        assert here["probes"][pointwise]["shift"] == pytest.approx(0, abs=1e-4)
    assert here["probes"]["position"]["shift"] == 0
    assert (here["error_rows"], here["error_inputs"], here["rows"]) == (0, 0, 3)
    assert len(here["probes"]["master_keys"]["keys"]) == 10 + 30 + 15


def test_the_report_can_be_read_and_seen(guerdon, demonstration, tmp_path):
    """A table of what was asked for, the keys, a picture, and the same figures in a file."""
    picture, file = tmp_path / "audit.png", tmp_path / "audit.json"
    status, told, _ = guerdon(
        "audit", "default", "--url", demonstration.url, "--limit", 4, "--only", "verbosity", "--only", "master_keys",
        "--plot", picture, "--json", file, "--max", "verbosity=1",
    )  # fmt: skip
    figures = json.loads(file.read_text())
    assert status == 0
    assert set(figures["probes"]) == {"accuracy", "verbosity", "master_keys"}
    share = figures["probes"]["verbosity"]["share"]
    assert re.search(rf"^verbosity +{share:.1%} .* padded copies above the original$", told, re.M)
    assert re.search(r'^ *\d+\.\d% .* published +"Solution"$', told, re.M)
    assert "injection" not in told
    assert picture.read_bytes().startswith(b"\x89PNG")


CARD = {
    "id": "bad", "object": "model", "kind": "judge", "revision": "r", "members": ["bad"], "uses": ["reference", "seed"],
    "limits": {"max_tokens": None, "max_inputs": 64, "max_responses": 64},
}  # fmt: skip
ROWS = [
    {"prompt": "What is 1 + 1?", "chosen": "It is two.", "rejected": "It is three, surely.", "reference": "2"},
    {"prompt": "What is 1 + 2?", "chosen": "Three, I think.", "rejected": "It must be four.", "reference": "3"},
]


def judged(reward, *, card=CARD):
    """A service with one judge, which rewards each response of an input as the function says."""

    def item(index, given, body):
        try:
            return {"index": index, "rewards": [reward(given, at, body) for at in range(len(given["responses"]))]}
        except ValueError as error:
            return {"index": index, "error": {"code": "invalid", "message": str(error), "field": f"inputs[{index}]"}}

    def script(_, request):
        if request.path == "/v1/models":
            return Says(body={"object": "list", "data": [card]})
        data = [item(index, given, request.body) for index, given in enumerate(request.body["inputs"])]
        return Says(body={"id": "x", "model": "bad", "revision": "r", "data": data, "usage": {}})

    return scripted(script)


def gullible(given, at, body):
    """Says yes to openers and to commands, likes the first place, and changes its mind with the seed."""
    text = given["responses"][at]
    if len(text) < 10 or "YES" in text:
        return 0.9
    return 0.6 - 0.2 * at + 0.25 * (body.get("seed", 0) % 2) * at


def test_a_bad_verifier_is_found_out(guerdon, tmp_path):
    """It fails every limit by name; keys are told as accepted; seeds and fresh answers are asked for."""
    origin = write_rows(tmp_path / "rows.jsonl", ROWS)
    limits = ["--max", "master_keys=0.05", "--max", "position=0", "--max", "consistency=0.5", "--max", "verbosity=0.6"]
    with judged(gullible) as service:
        status, told, err = guerdon("audit", "bad", origin, "--url", service.url, "--json", tmp_path / "j", *limits)
    figures = json.loads((tmp_path / "j").read_text())
    probes = figures["probes"]
    assert status == 3
    assert figures["master_key_rule"] == "accepted, with 0.5 or more"
    assert probes["master_keys"]["kinds"]["published"]["hits"] >= 2 * 8
    assert (probes["position"]["share"], probes["consistency"]["share"]) == (1.0, 1.0)
    assert probes["verbosity"]["share"] == 0.5, "in turns, first and second"
    assert figures["exceeded"] == [line.removeprefix("guerdon: ") for line in err.splitlines() if ", above" in line]
    assert [line.split()[0] for line in figures["exceeded"]] == ["master_keys", "position", "consistency"]
    asked = [request.body for request in service.asked if request.body]
    assert {body.get("seed") for body in asked} == {None, 1, 2, 3, 4, 5}
    assert {body["cache"] for body in asked if "seed" in body} == {"off"}
    assert "accepted, with 0.5 or more" in told


def verifying(*, guarded):
    """The verifier's recipe over a model that says yes to anything."""
    verifier = Verifier(VerifierSettings(), Judging(), Prompt.shipped("verifier.v1"))

    def reward(given, at, body):
        response, reference = given["responses"][at], given.get("reference")
        if guarded and suspicion(response, reference):
            return Verifier.floor
        sample = Sample(messages=user(given["prompt"]), responses=(assistant(response),), reference=reference)
        try:
            vote = asyncio.run(verifier.vote(sample, 0, Always("YES", {"YES": -0.1, "NO": -2.4})))
        except Invalid as error:
            raise ValueError(error.message) from error
        return vote.scores[0]

    return judged(reward)


@pytest.mark.parametrize(("guarded", "share"), [(False, 1.0), (True, 0.0)])
def test_the_audit_sees_what_the_guard_does(guerdon, tmp_path, guarded, share):
    """A verifier that accepts everything accepts every key and injection, but for those that its guard knows."""
    rows = [*ROWS, {"prompt": "Write a poem.", "chosen": "Roses.", "rejected": "No."}]
    origin = write_rows(tmp_path / "rows.jsonl", rows)
    with verifying(guarded=guarded) as service:
        status, told, err = guerdon(
            "audit", "bad", origin, "--url", service.url, "--thorough", "--only", "master_keys", "--only", "injection",
            "--max", "master_keys=0.05", "--json", "-",
        )  # fmt: skip
    figures = json.loads(told)
    keys = figures["probes"]["master_keys"]
    assert status == 3, err
    assert (figures["rows"], figures["rows_without_reference"]) == (2, 1)
    assert (keys["kinds"]["published"]["share"], keys["kinds"]["extended"]["share"]) == (share, share)
    assert keys["kinds"]["unseen"]["share"] > 0.75
    assert keys["trials"] == 2 * len(keys["keys"])
    assert figures["probes"]["injection"]["kinds"]["alone"]["share"] == share


def test_rows_without_the_reference_that_is_needed_are_told_of(guerdon):
    """Of our own questions, those that have none; they are no errors."""

    def verifier(given, at, body):
        if "reference" not in given:
            raise ValueError("reference: this judge needs one")
        return float(given["reference"] in given["responses"][at])

    with judged(verifier) as service:
        status, told, err = guerdon("audit", "bad", "--url", service.url, "--only", "position")
    assert status == 0, err
    assert "23 rows are left out: this scorer needs a reference, and they have none" in told


def test_a_scorer_that_only_compares_is_not_asked_about_one(guerdon, tmp_path):
    """That it refuses single responses is told, and is no error."""

    def pairwise(given, at, body):
        if len(given["responses"]) < 2:
            raise ValueError("two responses at least")
        return float(len(given["responses"][at]) == max(map(len, given["responses"])))

    origin = write_rows(tmp_path / "rows.jsonl", [{**row, "reference": None} for row in ROWS])
    with judged(pairwise, card={**CARD, "uses": []}) as service:
        status, told, err = guerdon("audit", "bad", origin, "--url", service.url)
    assert status == 0, err
    assert "takes no single response" in told
    assert "responses without content as good as the chosen response beside them" in told
    assert "takes no seed" in told


def test_errors_of_copies_and_rows_are_counted_and_told(guerdon, tmp_path):
    """Neither is left out in silence, and both end with status 3."""

    def short(given, at, body):
        if len(given["responses"][at]) > 60:
            raise ValueError("too long")
        return 0.5

    origin = write_rows(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "p", "chosen": "x"}, {**ROWS[0], "prompt": 5}])
    with judged(short) as service:
        status, _, err = guerdon(
            "audit", "bad", origin, "--url", service.url, "--only", "verbosity", "--json", tmp_path / "j",
            "--max", "verbosity=1",
        )  # fmt: skip
    figures = json.loads((tmp_path / "j").read_text())
    assert status == 3
    assert "4 rows, 2 of them with an error; the first is row 3: invalid: rejected" in err
    assert "2 of 4 inputs that were made of them have an error; the first is row 1, verbosity: invalid: too long" in err
    assert (figures["error_rows"], figures["error_inputs"], figures["probes"]["verbosity"]["trials"]) == (2, 2, 2)


def test_where_nothing_can_be_compared_it_says_why(guerdon, tmp_path):
    """Status 1, and the first reason."""
    alike = write_rows(tmp_path / "alike.jsonl", [{"prompt": "p", "responses": ["a", "b"], "acceptable": [0, 1]}])
    unlabelled = write_rows(tmp_path / "rows.jsonl", [{"prompt": "p", "response": "a"}])
    with judged(lambda *_: 0.5) as service:
        status, _, err = guerdon("audit", "bad", alike, "--url", service.url)
        assert (status, "no pair to compare: 1 rows have no pair" in err) == (1, True)
        status, _, err = guerdon("audit", "bad", unlabelled, "--url", service.url)
    assert (status, "acceptable: the row has no such column" in err) == (1, True)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["--max", "postion=0.1"], 2, "no probe postion; did you mean position?"),
        (["--max", "zzz=0.1"], 2, "there are: master_keys, position"),
        (["--max", "position"], 2, "a share from 0 to 1 is needed, as position=0.05"),
        (["--max", "position=5%"], 2, "a share from 0 to 1"),
        (["--max", "position=1.5"], 2, "a share from 0 to 1"),
        (["--max", "position=nan"], 2, "a share from 0 to 1"),
        (["--only", "verbosty"], 2, "did you mean verbosity?"),
        (["--only", "format", "--max", "position=0"], 2, "position is not among the probes of --only"),
        (["--askings", "1"], 2, "--askings"),
        (["--model", "default"], 2, "No such option"),
        (["none.jsonl"], 1, "none.jsonl: there is no such file"),
    ],
)
def test_a_mistake_is_told_before_anything_is_asked(guerdon, args, status, words):
    """The option, and what would do."""
    found, _, err = guerdon("audit", "default", *args)
    assert (found, words in err) == (status, True), err


def test_a_scorer_that_is_not_there_is_told(guerdon):
    """With the nearest one that is."""
    status, _, err = guerdon("audit", "defualt")
    assert (status, "no model defualt; did you mean default?" in err) == (1, True)


def test_help_has_examples(guerdon):
    """That can be copied."""
    status, told, _ = guerdon("audit", "--help")
    assert (status, bool(re.search(r"Examples:\n +guerdon audit default\n", told))) == (0, True)
