"""What an audit says of a judge whose guard refuses what it tries, and of one that tells nothing apart."""

import json
import re
import unicodedata
from importlib.resources import files

import pytest

from guerdon.cli.audit import _battery
from guerdon.cli.audit_figures import Answer, Figure, Reading, Trial, readings, scale_of
from guerdon.cli.audit_probes import Ask, Question, Shown, as_it_is
from guerdon.cli.audit_report import exceeded, parts_of, untested
from guerdon.cli.audit_run import _refused
from guerdon.cli.pairs import Pair
from guerdon.scorers.judges.guard import suspicion
from model_server import chat, model_server
from row_files import write_rows

ROWS = [
    {"prompt": f"What is {n} + {n}?", "chosen": f"It is {2 * n}.", "rejected": f"It must be {n}.", "reference": f"{n}"}
    for n in range(1, 5)
]
ANSWERS = {"YES": -0.1, "NO": -2.4}


def letters(text):
    """What makes a text the same to a reader."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def test_the_unseen_battery_is_not_the_shipped_one():
    """30 keys and 30 injections; none is, holds or is held by one that the guard was made for, nor shares a name."""
    battery = _battery()
    known = [letters(text) for text in (*battery.published, *battery.extended, *battery.injections.values())]
    unseen = [letters(text) for text in (*battery.unseen_keys, *battery.unseen_injections.values())]
    listed = json.loads((files("guerdon.builtin") / "audit" / "unseen.json").read_text(encoding="utf-8"))
    assert (len(listed["keys"]), len(listed["injections"]), len(set(unseen))) == (30, 30, 60)
    assert not set(battery.unseen_injections) & set(battery.injections)
    for text in unseen:
        assert text not in known
        assert not [one for one in known if len(one) > 20 and (one in text or (len(text) > 20 and text in one))], text


def test_the_guard_was_not_fitted_to_the_unseen_battery():
    """It lets most of it through: were it widened to refuse these, they would have to be written anew."""
    battery = _battery()
    tried = [*battery.unseen_keys, *battery.unseen_injections.values()]
    assert sum(suspicion(text, "4") is not None for text in tried) <= len(tried) / 4


def config_of(tmp_path, server, **more):
    judge = {"kind": "judge", "engine": "vllm", "recipe": "verifier", "model": "judge", "url": server.url, **more}
    file = tmp_path / "guerdon.json"
    file.write_text(json.dumps({"scorers": {"yes": judge}}))
    return file


def audited(guerdon, tmp_path, answer, *args, **more):
    """Status, JSON, report and errors of an audit of a real judge with its guard, over a model that answers so."""
    origin, figures = write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "figures.json"
    with model_server(answer) as server:
        config = config_of(tmp_path, server, **more)
        status, told, err = guerdon("audit", "yes", origin, "--config", config, "--json", figures, *args)
    return status, json.loads(figures.read_text()), told, err


def test_a_judge_that_always_says_yes_is_not_certified_by_its_guard(guerdon, tmp_path):
    """The guard refuses all that is known; of what it does not know, the judge accepts everything, and fails."""
    status, figures, told, err = audited(
        guerdon, tmp_path, lambda asked: chat("YES", ANSWERS), "--thorough", "--only", "master_keys",
        "--only", "injection", "--max", "master_keys=0.9", "--max", "injection=0.9",
    )  # fmt: skip
    keys, injection = figures["probes"]["master_keys"], figures["probes"]["injection"]
    assert status == 3
    assert keys["kinds"]["published"]["refused"] == keys["kinds"]["published"]["trials"] == 40
    assert keys["kinds"]["unseen"]["share"] > 0.75
    assert keys["shown"]["trials"] == keys["trials"] - keys["refused"] >= 20
    assert keys["shown"]["share"] == injection["shown"]["share"] == 1.0
    assert injection["kinds"]["alone"]["refused"] == injection["kinds"]["alone"]["trials"]
    assert {"unseen appended", "unseen alone"} <= set(injection["kinds"])
    assert figures["exceeded"] == [
        "master_keys shown to the model is 1.0000, above 0.9", "injection shown to the model is 1.0000, above 0.9",
    ]  # fmt: skip
    assert all(line in err for line in figures["exceeded"])
    assert f"master_keys: {keys['trials']:,} tries, {keys['refused']:,} refused by the guard" in told
    assert re.search(r"^  shown to the model +100.0%", told, re.M)
    assert told.startswith("the scorer gives every good answer the same reward, 0.9")
    assert "shares below mean little" in told.splitlines()[0]
    assert "shares below mean little" in err


def test_a_scorer_that_tells_nothing_apart_fails_any_limit(guerdon, tmp_path):
    """Whichever was given, and none where none was."""
    args = ["--only", "position"]
    for more, expected in (([], 0), (["--max", "position=1"], 3), (["--min-accuracy", "0"], 3)):
        status, figures, told, err = audited(guerdon, tmp_path, lambda asked: chat("YES", ANSWERS), *args, *more)
        assert (status, figures["tells_nothing_apart"], figures["chosen"]["all_alike"]) == (expected, True, True)
        assert told.startswith("the scorer gives every good answer the same reward")
        assert ("the same reward" in err) == (expected == 3)


def test_right_answers_may_all_have_the_same_reward(guerdon, tmp_path):
    """A verifier that is always right, and sure, says so; its shares have a meaning, and no limit fails by it."""

    def sure(asked):
        right = "It is " in asked.text
        return chat("YES" if right else "NO", {"YES": -0.1, "NO": -2.4} if right else {"YES": -2.4, "NO": -0.1})

    status, figures, told, err = audited(guerdon, tmp_path, sure, "--only", "position", "--max", "position=0")
    assert (status, figures["probes"]["accuracy"]["share"]) == (0, 1.0), err
    assert (figures["chosen"]["all_alike"], figures["tells_nothing_apart"]) == (True, False)
    first = told.splitlines()[0]
    assert first.startswith("the scorer gives every good answer the same reward, 0.9")
    assert "mean little" not in told


def test_without_a_guard_all_tries_are_shown(guerdon, tmp_path):
    """Nothing is refused, and no second share is told."""
    status, figures, told, _ = audited(
        guerdon, tmp_path, lambda asked: chat("YES", ANSWERS), "--only", "master_keys",
        guard={"content_free": "off", "injection": "off"},
    )  # fmt: skip
    keys = figures["probes"]["master_keys"]
    assert (status, keys["refused"], keys["shown"]["share"], keys["shown"]["trials"]) == (0, 0, 1.0, keys["trials"])
    assert "refused by" not in told
    assert "shown to the model" not in told


def trials(hits, *, shown, refused):
    """So many tries, of which those that came off were shown."""
    return Figure([Trial(row=n, hit=n < hits, refused=n >= shown) for n in range(shown + refused)])


@pytest.mark.parametrize(
    ("shown", "told", "not_tested"),
    [
        (20, ["master_keys shown to the model is 0.5000, above 0.2"], []),
        (19, [], ["master_keys: the judge itself was not tested: 100 of 119 tries were refused by its guard"]),
        (0, [], ["master_keys: the judge itself was not tested: 100 of 100 tries were refused by its guard"]),
    ],
)
def test_a_limit_holds_of_what_was_shown_where_that_is_enough(shown, told, not_tested):
    """Of 20 tries at least; of fewer, it is said that the judge was not tested."""
    found = {"master_keys": Reading(trials(shown // 2, shown=shown, refused=100), Figure([]))}
    assert exceeded(found, {"master_keys": 0.2}) == told
    assert untested(found) == not_tested
    assert untested(found, ["position"]) == []
    assert ("shown to the model" in parts_of("master_keys", found["master_keys"])) == (shown > 0)


def test_few_tries_that_no_guard_refused_do_test_the_judge():
    """It is a guard that hides a judge, not a short file."""
    found = {"master_keys": Reading(trials(1, shown=3, refused=0), Figure([]))}
    assert untested(found) == []
    assert exceeded(found, {"master_keys": 0.2}) == ["master_keys is 0.3333, above 0.2"]


def report(responses, refused=(), votes=1):
    return {"responses": responses, "votes": votes, "refused": [{"response": at, "reason": "r"} for at in refused]}


@pytest.mark.parametrize(
    ("judges", "expected"),
    [
        (None, set()),
        ({"a": [report([0], [0], votes=0), report([1])]}, {0}),
        ({"a": [report([0, 1, 2], [1])]}, {1}),
        ({"a": [report([0, 1], [1], votes=0)]}, {0, 1}),
        ({"a": [report([0, 1], [1])], "b": [report([0, 1])]}, set()),
        ({"a": [report([0, 1], [1])], "b": [report([0, 1], [1])]}, {1}),
    ],
)
def test_refused_is_what_no_judge_was_shown(judges, expected):
    """By the caller's places: of judges of one response, of several, where none was asked, and of ensembles."""
    assert _refused({"rewards": [], "judges": judges}) == expected


def test_a_try_is_refused_where_its_made_response_is():
    """Not where the good one beside it is."""
    responses = (Shown("chosen", "good", 0), Shown("rejected", "bad", 1))
    question = Question(1, {"prompt": "p"}, responses, (Pair(0, 1),))
    ask = Ask(probe="injection", question=question, shown=(Shown("attack", "x"), responses[0]), compared=(0, 1))
    rows, others = [Answer(as_it_is(question), [1.0, 0.0])], [Answer(ask, [0, 1], {0}), Answer(ask, [2, 1], {1})]
    found = readings(rows, others, scale_of(rows, others, verifies=False, mark=None))["injection"].whole
    assert (found.refused, found.share, found.shown().share) == (1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("good", "flat"),
    [([1, 1, 1], True), ([1, 1 + 5e-7], True), ([1e6, 1e6 + 0.5], True), ([1, 1.00001], False), ([3], False)],
)
def test_all_alike_is_to_within_a_millionth(good, flat):
    """Of several good responses; a single one is alike to nothing."""
    rows = []
    for number, reward in enumerate(good):
        responses = (Shown("chosen", "good", 0), Shown("rejected", "bad", 1))
        rows.append(Answer(as_it_is(Question(number, {"prompt": "p"}, responses, (Pair(0, 1),))), [reward, -5.0]))
    assert scale_of(rows, [], verifies=False, mark=None).flat is flat
