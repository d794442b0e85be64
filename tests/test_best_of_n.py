"""The best-of-n estimator against published numbers and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.best_of_n import best_weights, expected_best, kl_bound
from guerdon.preferences import bradley_terry, strengths, win_rates


def test_the_golden_curve():
    """Four responses in an order that their gold rewards do not have."""
    curve = expected_best([0.1, 0.4, 0.2, 0.9], [1, 3, 2, 0], [1, 2, 3, 4])
    assert curve == [pytest.approx(one, abs=5e-5) for one in (1.5, 1.3333, 0.75, 0)]


@pytest.mark.parametrize(("count", "right"), [(1, 0), (2, 0.19315), (4, 0.63629), (16, 1.83509), (12500, 8.43356)])
def test_the_bound_on_the_divergence(count, right):
    """ln n - (n - 1) / n."""
    assert kl_bound(count) == pytest.approx(right, abs=5e-6)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.5, -3.0]), st.floats(-9, 9)), min_size=1, max_size=6))
def test_the_mean_over_all_choices_of_n(responses):
    """Enumerated; where several have the highest proxy reward, each of these is chosen as often."""
    proxy, gold = zip(*responses, strict=True)
    for count in range(1, len(responses) + 1):
        means = []
        for chosen in itertools.combinations(range(len(responses)), count):
            best = max(proxy[i] for i in chosen)
            means.append(np.mean([gold[i] for i in chosen if proxy[i] == best]))
        assert expected_best(proxy, gold, [count])[0] == pytest.approx(np.mean(means), abs=1e-9)


def test_twelve_thousand_responses_agree_with_a_simulation():
    """N = 12,600: best of n drawn by brute force, within three standard errors; and the weights are exact."""
    rng = np.random.default_rng(0)
    total, draws = 12_600, 4_000
    proxy = rng.normal(size=total)
    gold = proxy - 0.2 * proxy**3 + rng.normal(size=total)
    counts = [1, 16, 256, 4096, 12_500]
    for count, told in zip(counts, expected_best(proxy, gold, counts), strict=True):
        drawn = [rng.choice(total, count, replace=False, shuffle=False) for _ in range(draws)]
        seen = gold[[chosen[np.argmax(proxy[chosen])] for chosen in drawn]]
        assert abs(told - seen.mean()) <= 3 * max(seen.std(ddof=1) / math.sqrt(draws), 1e-12)
        assert best_weights(total, count).sum() == pytest.approx(1, abs=1e-9)
    middle = best_weights(total, 6300)
    right = math.comb(12_000 - 1, 6300 - 1) * 10**30 // math.comb(total, 6300)
    assert middle[12_000 - 1] == pytest.approx(right / 1e30, rel=1e-9)


def test_all_responses_have_one_best():
    """n = N: the response with the highest proxy reward, whatever its gold reward."""
    assert expected_best([3, 1, 2], [-7, 5, 5], [3]) == [-7]


@pytest.mark.parametrize("count", [0, 4])
def test_more_than_there_are_cannot_be_drawn(count):
    """An error, not a guess."""
    with pytest.raises(ValueError, match="cannot be drawn"):
        best_weights(3, count)


def test_preference_strength_by_hand():
    """Margins of ten members as in Secrets of RLHF II: mean, deviation, and the share on the majority's side."""
    first, second = [3.0, 2.0, 0.0, 1.0], [2.0, 0.0, 1.0, 1.0]
    strength, reversed_ = strengths([first, second], [(0, 1), (1, 0)])
    assert (strength.mean, strength.std) == (0.5, pytest.approx(math.sqrt(1.25)))
    assert strength.agreement == reversed_.agreement == 2.5 / 4
    assert reversed_.mean == -0.5
    assert strengths([[1.0, 1.0], [2.0, 3.0]], [(0, 1)])[0].agreement == 1.0


def test_strength_is_that_of_the_members_who_scored_both():
    """One who said nothing of a response has no margin; where nobody has, there is no strength."""
    scores = [[1.0, 5.0, math.nan], [0.0, math.nan, math.nan], [math.nan, 1.0, math.nan]]
    of_first, nobody, of_second = strengths(scores, [(0, 1), (1, 2), (0, 2)])
    assert (of_first.mean, of_first.std, of_first.agreement) == (1.0, 0.0, 1.0)
    assert nobody is None
    assert of_second.mean == 4.0


def test_the_minimax_winner_of_a_cycle():
    """Rock, scissors, paper: everyone wins half of the time; a response that beats all wins always."""
    assert win_rates([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]]) == [0.5, 0.5, 0.5]
    assert win_rates([[0.5, 1, 1], [0, 0.5, 0.5], [0, 0.5, 0.5]]) == [1, 0.25, 0.25]


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_bradley_terry_is_the_sigmoid_of_the_difference(first, second):
    """And both orders add up to 1."""
    table = bradley_terry([first, second])
    assert table[0, 1] == pytest.approx(1 / (1 + math.exp(second - first)), abs=1e-12)
    assert table[0, 1] + table[1, 0] == pytest.approx(1)
    assert table[0, 0] == table[1, 1] == 0.5
