"""Aggregations against published and hand-worked numbers, and their properties."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from guerdon.aggregation import (
    SET_WISE,
    Aggregation,
    Calibration,
    aggregate,
    aggregate_degraded,
    monotone_coefficient,
    pareto_fronts,
    std,
    variance,
)

NAMES = tuple("abcdefghijkl")
CAUTIOUS = ("mean", "wco", "uwo", "lcb")
"""Methods that never exceed the mean. (quantile and cvar do so at high levels, the others have weights.)"""


def one(scores, how=None, **parameters):
    """The reward of a lone response."""
    names = NAMES[: len(scores)]
    how = (how or Aggregation(**parameters)).fitted(names)
    return aggregate([scores], how, names)[0]


def each(rows, **parameters):
    """The rewards of an input's responses."""
    names = NAMES[: len(rows[0])]
    return aggregate(rows, Aggregation(**parameters).fitted(names), names)


def test_the_golden_vector_of_coste_et_al():
    """r = [1, 2, 4]: mean 2.3333, minimum 1, both variances, and UWO in both of the paper's settings."""
    scores = [1.0, 2.0, 4.0]
    assert one(scores, method="mean") == pytest.approx(2.3333, abs=5e-5)
    assert one(scores, method="wco") == 1.0
    assert variance(scores, 0) == pytest.approx(1.5556, abs=5e-5)
    assert variance(scores, 1) == pytest.approx(2.3333, abs=5e-5)
    assert one(scores, method="uwo", coefficient=0.5, ddof=0) == pytest.approx(1.5556, abs=5e-5)
    assert one(scores, method="uwo", coefficient=0.1, ddof=1) == pytest.approx(2.1, abs=1e-9)


HAND_WORKED = [
    ([1, 2, 4], {"method": "median"}, 2),
    ([1, 2, 4, 9], {"method": "median"}, 3),
    ([0, 2], {"method": "lcb", "coefficient": 1}, 0),  # mean 1, std 1
    ([0, 2], {"method": "lcb", "coefficient": 0.5, "ddof": 1}, 1 - 0.5 * math.sqrt(2)),
    ([1, 3], {"method": "lcb"}, 1),  # k = 1 / sqrt(2 - 1)
    ([0, 10, 20, 30, 40], {"method": "quantile", "level": 0.25}, 10),
    ([0, 10, 20, 30], {"method": "quantile", "level": 0.5}, 15),
    ([4, 1, 2], {"method": "quantile", "level": 0}, 1),
    ([4, 1, 2], {"method": "quantile", "level": 1}, 4),
    ([1, 2, 3, 4], {"method": "cvar", "level": 0.5}, 1.5),
    ([1, 2, 3, 4], {"method": "cvar", "level": 0.375}, (1 + 0.5 * 2) / 1.5),
    ([5, 1, 3], {"method": "cvar", "level": 0.1}, 1),
    ([5, 1, 3], {"method": "cvar", "level": 5e-324}, 1),
    ([5, 1, 3], {"method": "cvar", "level": 1}, 3),
    ([2, 3], {"method": "weighted", "weights": {"a": 0.5, "b": -1}}, -2),
    # (cos 30 degrees, sin 30 degrees) on helpfulness and verbosity, given at another length (arXiv 2402.18571)
    ([10, 4], {"method": "direction", "weights": {"a": 2 * math.cos(math.pi / 6), "b": 1}}, 5 * math.sqrt(3) + 2),
    ([10, 4, 7], {"method": "direction", "weights": {"c": -3}}, -7),
    ([3, 1], {"method": "capped", "caps": {"a": 2}}, 3),
    ([3, 1], {"method": "capped", "caps": {"a": 2, "b": 0.5}, "weights": {"b": 2}}, 3),
    ([1, 5, 2], {"method": "maxmin", "groups": {"x": ["a", "b"], "y": ["c"]}}, 2),
    ([1, 5, 9], {"method": "maxmin", "groups": {"x": ["a", "b"], "y": ["b", "c"]}}, 3),
]


@pytest.mark.parametrize(("scores", "how", "right"), HAND_WORKED)
def test_hand_worked_cases(scores, how, right):
    """One response, by each method that looks at one at a time."""
    assert one(scores, **how) == pytest.approx(right)


def test_borda_counts_whom_each_member_ranks_lower():
    """Three members rank three responses: a member gives 2, 1 and 0 points, half a point each for a tie."""
    rows = [[3, 1, 5], [2, 2, 5], [1, 3, 0]]
    assert each(rows, method="borda") == [pytest.approx(3.5 / 3), pytest.approx(3.5 / 3), pytest.approx(2 / 3)]
    assert each(rows, method="rank_mean") == [pytest.approx(3.5 / 6), pytest.approx(3.5 / 6), pytest.approx(1 / 3)]


def test_dominated_responses_get_nothing_or_their_rank():
    """(2, 1) and (1, 2) dominate (1, 1); two equal ones dominate neither each other; (0, 0) comes last."""
    rows = [[2, 1], [1, 2], [1, 1], [1, 2], [0, 0]]
    assert pareto_fronts(rows) == [0, 0, 1, 0, 2]
    assert each(rows, method="pareto") == [1.5, 1.5, 0, 1.5, 0]
    assert each(rows, method="pareto_rank") == [0, 0, -1, 0, -2]


rewards = st.floats(-50, 50)
matrices = st.integers(1, 8).flatmap(
    lambda members: st.lists(st.lists(rewards, min_size=members, max_size=members), min_size=2, max_size=8)
)
coefficients = st.floats(0, 5)
ddofs = st.sampled_from([0, 1])


@st.composite
def fitted(draw, methods=None):
    """Some rows of scores, and an aggregation that goes with their members."""
    rows = draw(matrices)
    names = NAMES[: len(rows[0])]
    method = draw(st.sampled_from(methods or sorted({*CAUTIOUS, "median", "quantile", "cvar", "weighted", "direction",
                                                     "capped", "maxmin", *SET_WISE})))  # fmt: skip
    ddof = draw(ddofs)
    most = min(monotone_coefficient(len(names), ddof), 5.0)
    parameters = {
        "uwo": lambda: {"coefficient": draw(coefficients)},
        "lcb": lambda: {"coefficient": draw(st.floats(0, most))},
        "quantile": lambda: {"level": draw(st.floats(0, 1))},
        "cvar": lambda: {"level": draw(st.floats(0.01, 1))},
        "weighted": lambda: {"weights": {name: draw(st.floats(0.1 if name == "a" else 0, 3)) for name in names}},
        "direction": lambda: {"weights": {name: draw(st.floats(0.1, 3)) for name in names}},
        "capped": lambda: {"caps": {name: draw(rewards) for name in names}},
        "maxmin": lambda: {"groups": {"all": list(names), "first": [names[0]]}},
    }.get(method, dict)()
    return rows, Aggregation(method=method, ddof=ddof, **parameters).fitted(names), names


@given(fitted(methods=CAUTIOUS))
def test_disagreement_never_raises_the_reward(case):
    """A cautious reward is at most the mean."""
    rows, how, names = case
    means = each(rows, method="mean")
    assert all(value <= mean + 1e-9 for value, mean in zip(aggregate(rows, how, names), means, strict=True))


@given(fitted(), st.randoms())
def test_the_order_of_members_changes_nothing(case, rng):
    """Members are known by name."""
    rows, how, names = case
    order = list(range(len(names)))
    rng.shuffle(order)
    shuffled = aggregate([[row[m] for m in order] for row in rows], how, [names[m] for m in order])
    assert shuffled == pytest.approx(aggregate(rows, how, names), rel=1e-9, abs=1e-9)


@given(fitted(), st.randoms())
def test_the_order_of_responses_changes_nothing(case, rng):
    """A response's reward goes where it goes."""
    rows, how, names = case
    order = list(range(len(rows)))
    rng.shuffle(order)
    plain, shuffled = aggregate(rows, how, names), aggregate([rows[i] for i in order], how, names)
    assert shuffled == pytest.approx([plain[i] for i in order], rel=1e-9, abs=1e-9)


@given(rewards, st.integers(1, 9), fitted(methods=["mean", "median", "wco", "uwo", "lcb", "quantile", "cvar"]))
def test_members_that_agree_give_their_common_value(score, count, case):
    """No disagreement, no penalty."""
    _, how, _ = case
    assume(how.method != "lcb" or how.coefficient <= monotone_coefficient(count, how.ddof))
    assert one([score] * count, how) == pytest.approx(score, abs=1e-9)


MONOTONE = ["mean", "median", "wco", "lcb", "quantile", "cvar", "weighted", "direction", "capped", "maxmin"]


@given(fitted(methods=MONOTONE), st.integers(0, 7), st.floats(0, 100))
def test_a_higher_score_never_lowers_the_reward(case, member, more):
    """Of all methods but uwo (whose variance may grow faster), with weights that are not negative."""
    rows, how, names = case
    raised = list(rows[0])
    raised[member % len(names)] += more
    before, after = aggregate([rows[0], raised], how, names)
    assert after >= before - 1e-9


def test_lcb_above_its_bound_would_not_be_monotone():
    """k = 0.6 for five members: a better score of one lowers the reward, which is why it is refused."""
    scores, better = [0, 0, 0, 0, 1], [0, 0, 0, 0, 2]
    free = [np.mean(one) - 0.6 * np.std(one) for one in (scores, better)]
    assert free[1] < free[0]
    with pytest.raises(ValueError, match=r"coefficient: at most 0\.5 for 5 members"):
        one(scores, method="lcb", coefficient=0.6)
    assert one(better, method="lcb", coefficient=0.5) >= one(scores, method="lcb", coefficient=0.5) - 1e-12


@given(fitted(methods=["uwo", "lcb"]))
def test_a_coefficient_of_zero_is_the_mean(case):
    """Not a default in disguise."""
    rows, how, names = case
    bold = how.model_copy(update={"coefficient": 0.0})
    assert aggregate(rows, bold, names) == each(rows, method="mean")


@pytest.mark.parametrize("ddof", [0, 1])
def test_one_member_has_no_variance(ddof):
    """Whatever the ddof: never NaN."""
    for method in ("uwo", "lcb"):
        assert one([1.5], method=method, coefficient=3, ddof=ddof) == 1.5
    assert std([1.5], ddof) == 0.0


LARGE = st.floats(-1.7e308, 1.7e308)


@given(
    st.integers(1, 6).flatmap(lambda k: st.lists(st.lists(LARGE, min_size=k, max_size=k), min_size=2, max_size=5)),
    fitted(),
)
def test_no_finite_input_gives_nan(rows, case):
    """What is too large for a float is an infinity, of which the gateway makes an error."""
    _, how, _ = case
    names = NAMES[: len(rows[0])]
    try:
        how = how.model_copy(update={"coefficient": None} if how.method == "lcb" else {}).fitted(names)
    except ValueError:
        assume(False)
    assert not any(math.isnan(value) for value in aggregate(rows, how, names))


@given(fitted(), st.data())
def test_a_missing_member_never_raises_the_reward_above_its_lowest_guess(case, data):
    """The degraded reward is at most the one with each missing member at the lowest score that was given."""
    rows, how, names = case
    gaps = [[None if data.draw(st.booleans()) else score for score in row] for row in rows]
    gaps = [
        row if any(score is not None for score in row) else list(whole) for row, whole in zip(gaps, rows, strict=True)
    ]
    filled = []
    for row in gaps:
        there = [score for score in row if score is not None]
        filled.append([min(there) if score is None else score for score in row])
    cautious = aggregate(filled, how, names)
    degraded = aggregate_degraded(gaps, how, names)
    assert all(value <= floor for value, floor in zip(degraded, cautious, strict=True))


def test_degraded_rewards_by_hand():
    """Mean of (1, 3) with a third missing: 2 by those that answered, 5/3 with the missing one at 1."""
    names = NAMES[:3]
    mean = Aggregation(method="mean").fitted(names)
    assert aggregate_degraded([[1, None, 3]], mean, names) == [pytest.approx(5 / 3)]
    assert aggregate_degraded([[1, 2, 3]], mean, names) == aggregate([[1, 2, 3]], mean, names)
    # UWO of one answer is that answer, whether or not the others are taken to have said the same.
    assert aggregate_degraded([[None, 4, None]], Aggregation(method="uwo").fitted(names), names) == [4]
    # UWO of (0, 4) alone is 2 - 0.5 * 4 = 0; with the missing one at 0 it is 4/3 - 0.5 * 32/9 = -4/9.
    uwo = Aggregation(method="uwo", coefficient=0.5).fitted(names)
    assert aggregate_degraded([[0, 4, None]], uwo, names) == [pytest.approx(-4 / 9)]
    # A weighted sum of negative scores would rise without its missing member.
    weighted = Aggregation(method="weighted", weights={"a": 1, "b": 1, "c": 1}).fitted(names)
    assert aggregate_degraded([[-1, -2, None]], weighted, names) == [-5]
    # One of positive scores would fall: 3 by those that answered, 4 with the missing one at 1.
    assert aggregate_degraded([[1, 2, None]], weighted, names) == [3]
    # So would UWO with a large coefficient: 2 - 5 * 4 = -18, against 4/3 - 5 * 32/9 = -148/9 with a second 0.
    steep = Aggregation(method="uwo", coefficient=5).fitted(names)
    assert aggregate_degraded([[0, 4, None]], steep, names) == [-18]
    # What counts against a response is taken to be as high as the highest.
    against = Aggregation(method="weighted", weights={"a": 1, "b": 1, "c": -1}).fitted(names)
    assert aggregate_degraded([[1, 2, None]], against, names) == [1]


def test_degraded_ranks_by_hand():
    """Two responses: of the member that answered both, and with the missing one at the lowest that was given."""
    names = NAMES[:2]
    borda = Aggregation(method="borda").fitted(names)
    # The first member prefers the first; the second said 0 of the first, and is taken to say 1 of the second.
    assert aggregate_degraded([[2, 0], [1, None]], borda, names) == [0.5, 0]
    # Nobody answered both: (2, 2) beats (1, 1).
    assert aggregate_degraded([[2, None], [None, 1]], borda, names) == [1, 0]
    rows = [[3, None], [1, 5]]
    assert aggregate_degraded(rows, Aggregation(method="pareto").fitted(names), names) == [3, 0]


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_calibration_is_a_z_score(score, mean, spread):
    """The mean becomes 0, one standard deviation above it 1."""
    calibration = Calibration(mean=mean, std=spread)
    assert calibration.apply(mean) == 0.0
    assert calibration.apply(score) == pytest.approx((score - mean) / spread)


@pytest.mark.parametrize("bad", [{"std": 0.0}, {"std": -1.0}, {"std": math.nan}, {"mean": math.inf}])
def test_a_calibration_that_cannot_be_is_refused(bad):
    """A standard deviation is positive, and both are finite."""
    with pytest.raises(ValidationError):
        Calibration(**{"mean": 0.0, "std": 1.0, **bad})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "wco", "coefficient": 0.5}, "wco has no use for coefficient"),
        ({"method": "uwo", "level": 0.5}, "uwo has no use for level"),
        ({"method": "maxmin"}, "maxmin needs groups"),
        ({"method": "weighted"}, "weighted needs weights"),
        ({"method": "cvar", "level": 0}, "above 0"),
        ({"method": "weighted", "weights": {"a": math.nan}}, "finite"),
        ({"method": "weighted", "weights": {"a": 1e308}}, "less than or equal to 1000000"),
        ({"method": "weighted", "weights": {"a": 0}}, "a weight that is not 0"),
        ({"method": "direction", "weights": {"a": 0}}, "a weight that is not 0"),
        ({"method": "maxmin", "groups": {"x": []}}, "at least 1 item"),
        ({"method": "maxmin", "groups": {"x": ["a", "a"]}}, "names a member twice"),
    ],
)
def test_parameters_that_do_not_go_with_the_method_are_refused(given, told):
    """Nothing that is asked for is passed over."""
    with pytest.raises(ValidationError, match=told):
        Aggregation(**given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "weighted", "weights": {"a": 1}}, "weights: every member is needed; left out: b"),
        ({"method": "weighted", "weights": {"a": 1, "b": 1, "z": 1}}, "no member z; members: a, b"),
        ({"method": "maxmin", "groups": {"x": ["a"]}}, "groups: every member is needed; left out: b"),
        ({"method": "capped", "caps": {"z": 1}}, "no member z"),
    ],
)
def test_names_that_do_not_go_with_the_members_are_refused(given, told):
    """They are told with those that there are."""
    with pytest.raises(ValueError, match=told):
        Aggregation(**given).fitted(("a", "b"))


def test_an_ensemble_of_nobody_is_an_error():
    """There is no reward without a member."""
    with pytest.raises(ValueError, match="one member at least"):
        aggregate([[]], Aggregation(), ())
