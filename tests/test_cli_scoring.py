"""What happens when a request fails, and how figures are counted."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.cli.faults import Stopped
from guerdon.cli.intervals import bootstrap, wilson
from guerdon.cli.pairs import Accuracy, Evaluation, Pair, labelled_pairs
from guerdon.cli.progress import Lines, clock
from guerdon.cli.rerank import Picks
from guerdon.cli.scoring import OverHttp, Request, Steadfast, on_thread
from guerdon.cli.tables import table
from guerdon.domain.errors import BY_CODE, Invalid
from guerdon_client import GuerdonError

GOOD = {"rewards": [1.0]}


class Picky:
    """Refuses a whole request that has a bad input, as a service does that cannot read it."""

    def __init__(self, code="invalid"):
        self.code, self.requests = code, []

    async def score(self, inputs):
        self.requests.append(len(inputs))
        if "bad" in inputs:
            raise GuerdonError(self.code, "no", field="inputs[0].responses")
        return [GOOD for _ in inputs]


class Flaky:
    """Fails so often with one error, then works."""

    def __init__(self, code, times, *, in_items=False):
        self.code, self.times, self.in_items = code, times, in_items

    async def score(self, inputs):
        self.times -= 1
        if self.times < 0:
            return [GOOD for _ in inputs]
        if self.in_items:
            return [GOOD, {"error": {"code": self.code, "message": "no"}}]
        raise GuerdonError(self.code, "no")


@given(st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=40))
def test_a_bad_row_never_costs_its_neighbours(inputs):
    """Where a request fails as a whole, each of its rows gets what it would have got alone."""
    items = asyncio.run(Steadfast(Picky()).score(inputs))
    assert [item.get("error", {}).get("code") for item in items] == [
        "invalid" if each == "bad" else None for each in inputs
    ]


async def test_one_bad_row_of_many_is_found_quickly():
    """Halving finds it in a few requests, not one a row."""
    picky = Picky()
    await Steadfast(picky).score(["good"] * 63 + ["bad"])
    assert len(picky.requests) <= 13


@pytest.mark.parametrize("code", ["overloaded", "unavailable", "unreachable"])
@pytest.mark.parametrize("in_items", [False, True])
async def test_what_passes_is_waited_out(code, in_items):
    """A restart of the service, or a full queue, is no row's error; also where it struck single rows."""
    flaky = Flaky(code, 1, in_items=in_items)
    assert await Steadfast(flaky, patience_s=5).score(["a", "b"]) == [GOOD, GOOD]


@pytest.mark.parametrize("code", ["overloaded", "unavailable", "unreachable", "deadline_exceeded", "unknown_model"])
async def test_what_is_no_rows_fault_stops_the_run(code):
    """Such a row is not marked, so that a later run can reward it."""
    with pytest.raises(Stopped, match=code):
        await Steadfast(Flaky(code, 1000), patience_s=0).score(["a", "b"])


async def test_a_request_that_takes_too_long_is_asked_for_in_parts():
    """A slow service answers half a request in time; only a single row that is too slow stops the run."""
    picky = Picky("deadline_exceeded")
    with pytest.raises(Stopped, match=r"limits\.timeout_s"):
        await Steadfast(picky, patience_s=0).score(["good", "good", "bad", "good"])
    assert picky.requests == [4, 2, 2, 1]


@pytest.mark.parametrize("code", ["response_too_long", "non_finite", "engine_failed", "worker_lost", "too_large"])
async def test_a_rows_own_error_is_written_on_it(code):
    """A response that kills its worker each time would stop every later run as well."""
    assert code in BY_CODE
    (item,) = await Steadfast(Flaky(code, 1), patience_s=0).score(["a"])
    assert item["error"]["code"] == code


async def test_a_request_is_kept_below_what_services_take():
    """Many long rows are asked about in several requests."""

    class Client:
        def __init__(self):
            self.sizes = []

        def score_inputs(self, inputs, **options):
            self.sizes.append(len(inputs))
            return {"data": [GOOD for _ in inputs]}

    client = Client()
    inputs = [{"prompt": "x" * 1_000_000}] * 8
    assert await Steadfast(OverHttp(client, Request(model="m"))).score(inputs) == [GOOD] * 8
    assert max(client.sizes) <= 4


async def test_blocking_calls_run_beside_each_other():
    """Each has a thread, which keeps nobody from leaving; its exception comes back."""
    both = threading.Barrier(2)
    await asyncio.wait_for(asyncio.gather(on_thread(both.wait), on_thread(both.wait)), 5)
    with pytest.raises(ZeroDivisionError):
        await on_thread(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_wilson_intervals_are_the_published_ones(hits, count, low, high):
    """The last two are examples of Newcombe, Statistics in Medicine 17 (1998), table I."""
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_an_interval_holds_its_share(hits, misses):
    """And stays between 0 and 1; nothing is known of nothing."""
    low, high = wilson(hits, hits + misses)
    assert 0 <= low <= (hits / (hits + misses) if hits + misses else low) <= high <= 1


def test_pairs_of_one_row_do_not_count_as_independent():
    """A hundred copies of each pair tell no more than one: drawing rows gives the same interval."""
    single, copied = {(1, 1): 30, (1, 0): 10}, {(100, 100): 30, (100, 0): 10}
    assert bootstrap(copied) == bootstrap(single)
    assert bootstrap(copied) == pytest.approx(wilson(30, 40), abs=0.04)
    assert wilson(3000, 4000)[0] > bootstrap(copied)[0]


def test_a_tie_is_wrong():
    """Strict: a reward model that cannot tell is not given the benefit of the doubt."""
    accuracy = Accuracy()
    for margin in (0.5, 0.0, -0.5, 1.0):
        accuracy.add([margin])
    told = accuracy.told()
    assert (told["accuracy"], told["ties"], told["mean_margin"], told["interval_method"]) == (0.5, 1, 0.25, "Wilson")


def test_few_rows_or_rows_that_all_agree_still_leave_doubt():
    """Drawing them would give a narrow interval, or one of no width: a row then counts as one trial."""
    few, alike = Accuracy(), Accuracy()
    for _ in range(4):
        few.add([1.0, 1.0, 1.0, -1.0])
    for _ in range(50):
        alike.add([1.0, 2.0])
    assert few.interval() == (wilson(3, 4), "Wilson over rows")
    assert alike.interval() == (wilson(50, 50), "Wilson over rows")


def test_pairs_are_chosen_against_rejected_or_acceptable_against_the_rest():
    """Every acceptable response with every other, and none with its like."""
    assert labelled_pairs({"chosen": "a", "rejected": "b"}, 2) == [Pair(0, 1)]
    assert labelled_pairs({"acceptable": [2, 0]}, 4) == [Pair(0, 1), Pair(0, 3), Pair(2, 1), Pair(2, 3)]
    assert labelled_pairs({"acceptable": [0, 1]}, 2) == []
    both = {"responses": ["a", "b"], "acceptable": [1], "chosen": "a", "rejected": "b"}
    assert labelled_pairs(both, 2, {"chosen", "rejected"}) == [Pair(1, 0)]
    assert labelled_pairs(both, 2, {"responses"}) == [Pair(0, 1)]
    with pytest.raises(Invalid, match="no such column, nor `chosen` and `rejected`"):
        labelled_pairs({"response": "a"}, 1)


def test_accuracy_is_told_by_a_rows_value_or_by_the_worse_responses():
    """`topic` is the row's; `kinds` has one value a response."""
    evaluation = Evaluation(["topic", "kinds"])
    row = {"acceptable": [0], "topic": "maths", "kinds": ["fine", "rude", "wrong"]}
    evaluation.add(row, [1.0, 0.0, 2.0])
    evaluation.add({**row, "topic": None, "acceptable": []}, [1.0, 0.0, 2.0])
    by = evaluation.told()["by"]
    assert {label: group["accuracy"] for label, group in by["kinds"].items()} == {"rude": 1.0, "wrong": 0.0}
    assert {label: group["accuracy"] for label, group in by["topic"].items()} == {"maths": 0.5}
    assert evaluation.told()["rows_without_pairs"] == 1


def test_a_column_of_countless_values_takes_no_countless_room():
    """The first thousand have a group each, the others one together."""
    evaluation = Evaluation(["id"])
    for at in range(1500):
        evaluation.add({"chosen": "a", "rejected": "b", "id": at}, [1.0, 0.0])
    groups = evaluation.told()["by"]["id"]
    assert len(groups) == 1001
    assert groups["(others)"]["pairs"] == 500


def test_picks_are_counted_by_kind():
    """What was picked as best, and what stayed below the best acceptable response; a tie is not below."""
    picks = Picks()
    kinds = ["fine", "rude", "wrong", "wrong"]
    picks.see({"best": 0, "rewards": [3.0, 1.0, 3.0, 2.0], "acceptable": [0], "kinds": kinds})
    picks.see({"best": 2, "rewards": [0.0, 1.0, 3.0, 2.0], "acceptable": [0], "kinds": kinds})
    picks.see({"best": 0, "rewards": [1.0, 0.0], "acceptable": [9]})
    picks.see({"best": 0, "rewards": [1.0, 0.0], "acceptable": []})
    picks.see({"error": {}})
    assert picks.report().splitlines() == [
        "best response acceptable: 1 of 2 rows = 50.0% (95 % interval 9.5 to 90.5 %, Wilson)",
        "rows left out: 1 without an acceptable response, 1 whose `acceptable` is not a list of indexes",
        "",
        "kind   responses  picked as best  below the best acceptable",
        "-----  ---------  --------------  -------------------------",
        "fine           2     1 of 2 rows",
        "wrong          4     1 of 2 rows               1 of 4 = 25%",
        "rude           2     0 of 2 rows               1 of 2 = 50%",
    ]


def test_rows_without_labels_have_no_report():
    """Nothing is said of what nobody asked for."""
    picks = Picks()
    picks.see({"best": 0, "rewards": [1.0]})
    assert picks.report() == ""


def test_progress_is_told_every_few_seconds():
    """With the rate of this run, the time left, and the rows in error; an earlier run's rows count as done."""
    times, lines = iter([0.0, 2.0, 6.0, 7.0, 12.0]), []
    progress = Lines(1000, 100, now=lambda: next(times), say=lines.append)
    for errors in (0, 1, 0, 1):
        progress.advance(60, errors)
    assert lines == [
        "guerdon: 220 of 1,000 rows, 20.0 rows/s, 0:39 left, 1 with an error",
        "guerdon: 340 of 1,000 rows, 20.0 rows/s, 0:33 left, 2 with an error",
    ]


def test_progress_of_standard_input_knows_no_end():
    """No total, no time left."""
    times, lines = iter([0.0, 5.0]), []
    Lines(None, 0, now=lambda: next(times), say=lines.append).advance(10, 0)
    assert lines == ["guerdon: 10 rows, 2.0 rows/s"]
    assert (clock(59.6), clock(7384)) == ("1:00", "2:03:04")


def test_tables_cut_nothing_off():
    """A long cell widens its column."""
    assert table(["a", "n"], [["x" * 100, "1"]], right=(1,)).splitlines()[2] == "x" * 100 + "  1"
