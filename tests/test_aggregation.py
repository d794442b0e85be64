"""Aggregation against published and hand-worked numbers, and its properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guerdon.aggregation import Aggregation, Calibration, aggregate, std, variance

members = st.lists(st.floats(-50, 50), min_size=1, max_size=12)
methods = st.sampled_from(["mean", "wco", "uwo"])
aggregations = st.builds(Aggregation, method=methods, coefficient=st.floats(0, 5), ddof=st.sampled_from([0, 1]))


def test_the_golden_vector_of_coste_et_al():
    """r = [1, 2, 4]: mean 2.3333, minimum 1, both variances, and UWO in both of the paper's settings."""
    scores = [1.0, 2.0, 4.0]
    assert aggregate(scores, Aggregation(method="mean")) == pytest.approx(2.3333, abs=5e-5)
    assert aggregate(scores, Aggregation(method="wco")) == 1.0
    assert variance(scores, 0) == pytest.approx(1.5556, abs=5e-5)
    assert variance(scores, 1) == pytest.approx(2.3333, abs=5e-5)
    assert aggregate(scores, Aggregation(coefficient=0.5, ddof=0)) == pytest.approx(1.5556, abs=5e-5)
    assert aggregate(scores, Aggregation(coefficient=0.1, ddof=1)) == pytest.approx(2.1, abs=1e-9)


def test_a_coefficient_of_zero_is_zero():
    """Not a default in disguise: UWO without caution is the mean."""
    assert aggregate([1.0, 3.0], Aggregation(coefficient=0.0)) == 2.0


@pytest.mark.parametrize("ddof", [0, 1])
def test_one_member_has_no_variance(ddof):
    """Whatever the ddof: never NaN."""
    assert aggregate([1.5], Aggregation(coefficient=3, ddof=ddof)) == 1.5
    assert std([1.5], ddof) == 0.0


@given(members, aggregations)
def test_disagreement_never_raises_the_reward(scores, how):
    """Every aggregation is at most the mean."""
    assert aggregate(scores, how) <= aggregate(scores, Aggregation(method="mean")) + 1e-9


@given(members, aggregations, st.randoms())
def test_the_order_of_members_changes_nothing(scores, how, rng):
    """Aggregation is of a set of members."""
    shuffled = list(scores)
    rng.shuffle(shuffled)
    assert aggregate(shuffled, how) == pytest.approx(aggregate(scores, how), rel=1e-9, abs=1e-9)


@given(st.floats(-50, 50), st.integers(1, 9), aggregations)
def test_members_that_agree_give_their_common_value(score, count, how):
    """No disagreement, no penalty."""
    assert aggregate([score] * count, how) == pytest.approx(score, abs=1e-9)


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


def test_an_ensemble_of_nobody_is_an_error():
    """There is no reward without a member."""
    with pytest.raises(ValueError, match="nothing"):
        aggregate([], Aggregation())
