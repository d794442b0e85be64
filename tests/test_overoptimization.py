"""The reproduction of over-optimisation: its parts by hand, and the whole of it, tiny, through a real service."""

import json
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.overoptimization.curves import METHODS, Curve, calibrated, curves
from benchmarks.overoptimization.figure import draw
from benchmarks.overoptimization.gold import Gold, Standard
from benchmarks.overoptimization.pairs import Pairs
from benchmarks.overoptimization.policy import Policy
from benchmarks.overoptimization.run import run
from benchmarks.overoptimization.scored import World
from benchmarks.overoptimization.settings import FULL, SMOKE, GoldSettings, PolicySettings


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The smoke run: trained, served and asked over HTTP."""
    return run(SMOKE, tmp_path_factory.mktemp("overoptimization"))


@pytest.fixture
def language():
    """Three tokens, two of them rare, that are about nothing."""
    policy = Policy(PolicySettings(tokens=3, rarest=2, axes=1), np.random.default_rng(0))
    policy.features[:] = 0
    return policy


def gold_of(kind, policy):
    """Values 1, 10 and 100; only token 0 before token 1 is worth anything as a pair: 1000."""
    return Gold(
        kind=kind,
        settings=GoldSettings(run_penalty=2.0, rare_penalty=0.5),
        policy=policy,
        values=np.array([1.0, 10.0, 100.0]),
        left=np.array([[1000.0], [0.0], [0.0]]),
        right=np.array([[0.0], [1.0], [0.0]]),
    )


def test_a_saturating_gold_by_hand(language):
    """A token's second occurrence counts half, its third a quarter; a pair counts as its two tokens do."""
    found = gold_of("saturating", language)(np.zeros(1), np.array([[0, 1, 0, 1], [2, 2, 2, 0]]))
    first = 1 + 10 + 0.5 + 5 + 1000 * (1 + 0.5 * 0.5)
    assert found.tolist() == [first, 100 + 50 + 25 + 1]


def test_a_penalised_gold_by_hand(language):
    """Every occurrence counts in full, a repetition of the token before costs 2, a rare token 0.5."""
    found = gold_of("penalised", language)(np.zeros(1), np.array([[0, 1, 0, 1], [2, 2, 2, 0]]))
    assert found.tolist() == [1 + 10 + 1 + 10 + 2000 - 2 * 0.5, 300 + 1 - 2 * 2 - 3 * 0.5]


def test_exactly_the_stated_share_of_labels_is_wrong():
    """A quarter is a quarter; none is none."""
    policy = Policy(FULL.policy, np.random.default_rng(0))
    gold = Gold.drawn("saturating", FULL.gold, policy, np.random.default_rng(1))
    pairs = Pairs.drawn(Standard(gold, 0.0, 1.0), 200, np.random.default_rng(2))
    for share in (0.0, 0.25):
        flipped = pairs.flipped(share, np.random.default_rng(3))
        assert (flipped.better != pairs.better).mean() == share
    for topic, both, better in zip(pairs.topics, pairs.responses, pairs.better, strict=True):
        found = gold(topic, both)
        assert found[better] >= found[1 - better]


def test_one_response_in_a_thousand_holds_a_loop():
    """Of a rare token, no longer than the most, and found again."""
    policy = Policy(FULL.policy, np.random.default_rng(0))
    chance = np.random.default_rng(1)
    responses = np.concatenate([policy.responses(topic, 5000, chance) for topic in policy.topics(8, chance)])
    looped = policy.looped(responses)
    assert 15 <= looped.sum() <= 75
    for response in responses[looped]:
        token = np.bincount(response[response >= policy.first_rare]).argmax()
        assert 4 <= (response == token).sum() <= FULL.policy.loop_most + 2


def test_worlds_differ_and_come_back():
    """The same number draws the same world."""
    small = replace(SMOKE, responses=5)
    one, again, other = World(small, 0), World(small, 0), World(small, 1)
    assert np.array_equal(one.responses, again.responses)
    assert not np.array_equal(one.responses, other.responses)


def test_members_are_calibrated_by_other_responses():
    """Mean 0 and standard deviation 1 over the calibration, whatever the scale."""
    measured = np.random.default_rng(0).normal(size=(500, 2)) * [2, 30] + [5, -7]
    found = calibrated(measured, measured)
    assert np.allclose([found.mean(0), found.std(0)], [[0, 0], [1, 1]])


def test_served_scores_are_those_of_transformers(report):
    """Each sequence read by itself, float32."""
    assert report.parts[0].worlds[0].off_by < 1e-5


def test_a_smoke_run_holds_every_method(report, tmp_path):
    """In the table, in the JSON with every n, and without loops, too."""
    text = report.save(tmp_path).read_text()
    written = json.loads((tmp_path / "overoptimization.json").read_text())
    assert written["parts"].keys() == {"noisy", "noisy-without-loops"}
    for part in written["parts"].values():
        assert part["methods"].keys() == METHODS.keys()
        for method in part["methods"].values():
            assert len(method["gold_by_world"][0]) == len(written["n"])
    assert all(f"| {method} " in text for method in METHODS)


def test_the_figure_is_drawn(report, tmp_path):
    """A picture of all parts."""
    draw([(part.title, part.curves) for part in report.parts], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_curve_by_hand():
    """Peak, fall and end are each world's own; the interval is over prompts, and holds the mean."""
    gold = np.array([[[0.0, 3.0, 1.0], [0.0, 1.0, 1.0]], [[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]]])
    curve = Curve(counts=(1, 2, 4), gold=gold, proxy=gold.mean(1))
    assert (curve.peak.worlds, curve.final.worlds, curve.fall.worlds) == ((2, 3), (1, 3), (1, 0))
    assert (curve.fall.mean, curve.peak_count, curve.fall_of_mean) == (0.5, 4, 0)
    assert 1.5 <= curve.final.low < curve.final.mean < curve.final.high <= 2.5
    assert curve.above(curve).worlds == (0, 0)


def test_what_all_members_agree_on_is_chosen_by_every_method(report):
    """With the gold itself for members, every method's curve is that of choosing by gold."""
    scored = report.parts[0].worlds[0]
    agreed = replace(
        scored, raw=np.repeat(scored.gold[..., None], 2, -1), calibration_raw=np.array([[-1.0] * 2, [1.0] * 2])
    )
    found = curves([agreed], SMOKE.counts)
    for curve in found.values():
        assert np.allclose(curve.worlds, curve.proxy)
        assert (np.diff(curve.mean) > 0).all()
