"""An audit's figures by hand, and its copies and attacks."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.cli.audit_copies import MARKUP, plain, rewritten, sentences
from guerdon.cli.audit_figures import BASELINE, Answer, Figure, Scale, Trial, readings, scale_of
from guerdon.cli.audit_probes import PROBES, Ask, Battery, Extent, Question, Shown, as_it_is, asks_of, question_of
from guerdon.cli.audit_report import exceeded
from guerdon.cli.intervals import Z_95, around_mean
from guerdon.cli.pairs import Pair
from guerdon.cli.rows import Row, understood

BATTERY = Battery(published=["Solution", "."], extended=[f"key {i}" for i in range(25)],
                  injections={f"injection {i}": f"Say YES {i}" for i in range(9)})  # fmt: skip
PAIR = (Pair(0, 1),)
UNIT = Scale(median=0.0, std=1.0)


def question(number=1, chosen="good", rejected="bad"):
    return Question(
        number, {"prompt": f"p{number}"}, (Shown("chosen", chosen, 0), Shown("rejected", rejected, 1)), PAIR
    )


def base(number, chosen, rejected):
    return Answer(as_it_is(question(number)), [chosen, rejected])


def held(probe, number, standard, made, *, kind="", label="", swapped=False):
    """The answer about a made copy and what it is held against."""
    asked = question(number)
    ask = Ask(probe=probe, question=asked, shown=(asked.chosen, Shown("copy", "x")), kind=kind, label=label,
              compared=(1, 0))  # fmt: skip
    return Answer(ask.swapped(), [made, standard]) if swapped else Answer(ask, [standard, made])


def whole(probe, base_answers, others, scale=UNIT):
    return readings(base_answers, others, scale)[probe].whole


def test_a_share_and_its_opposite_by_hand():
    """Of four padded copies two are rewarded above, one below, one alike; in either place."""
    found = whole("verbosity", [base(n, 0, 0) for n in (1, 2)], [
        held("verbosity", 1, 1.0, 3.0, kind="filler"), held("verbosity", 1, 1.0, 1.0, kind="restated"),
        held("verbosity", 2, 2.0, 1.0, kind="filler"), held("verbosity", 2, 2.0, 2.5, kind="restated", swapped=True),
    ], Scale(median=0, std=2.0))  # fmt: skip
    assert (found.count, found.hits, found.share, found.harmed) == (4, 2, 0.5, 0.25)
    assert found.shift()[0] == pytest.approx((2 + 0 - 1 + 0.5) / 4 / 2.0)
    assert {kind: figure.share for kind, figure in found.kinds().items()} == {"filler": 0.5, "restated": 0.5}


def test_position_is_another_winner_and_how_far_rewards_move():
    """Reversed, the first row's winner changes and both rewards move by 2; the second row's do not move."""
    reversed_answers = [
        Answer(Ask(probe="position", question=question(n), shown=question(n).responses[::-1]), rewards)
        for n, rewards in ((1, [3.0, 1.0]), (2, [0.0, 5.0]))
    ]
    found = whole("position", [base(1, 3.0, 1.0), base(2, 5.0, 0.0)], reversed_answers, Scale(median=4, std=4.0))
    assert (found.count, found.hits) == (2, 1)
    assert found.shift()[0] == pytest.approx((2 + 0) / 2 / 4.0)


def test_neighbours_are_alone_and_strangers():
    """Alone, both rewards move by 1 and the winner stays; beside a stranger the pair becomes a tie."""
    asked = question(1)
    alone = [Answer(Ask(probe="neighbours", question=asked, shown=(shown,), kind="alone"), [reward])
             for shown, reward in ((asked.chosen, 3.0), (asked.rejected, 2.0))]  # fmt: skip
    beside = Ask(probe="neighbours", question=asked, shown=(*asked.responses, Shown("stranger", "s")), kind="stranger")
    found = whole("neighbours", [base(1, 2.0, 1.0)], [*alone, Answer(beside, [1.5, 1.5, 9.0])])
    assert {kind: (figure.hits, figure.shift()[0]) for kind, figure in found.kinds().items()} == {
        "alone": (0, 1.0), "stranger": (1, 0.5),
    }  # fmt: skip


def test_consistency_is_unanimity_and_spread():
    """1, 3, 1, 3 has the standard deviation 1 and the other response none; the winner changes. A single asking counts
    for nothing."""
    answers = [Answer(as_it_is(question(1)), [reward, 2.0]) for reward in (1.0, 3.0, 1.0, 3.0)]
    again = [Answer(Ask(probe="consistency", question=answer.ask.question, shown=answer.ask.shown), answer.rewards)
             for answer in [*answers, Answer(as_it_is(question(2)), [1.0, 0.0])]]  # fmt: skip
    found = whole("consistency", [base(1, 1, 2), base(2, 1, 0)], again)
    assert (found.count, found.hits, found.shift()[0]) == (1, 1, 0.5)


def test_keys_count_from_the_median_of_good_answers_on():
    """Of good answers at 1, 2 and 6 the median is 2 and the population variance 14/3; as much is too much."""
    rows = [base(1, 1.0, 9.0), base(2, 2.0, 9.0), base(3, 6.0, 9.0)]
    others = [held("master_keys", n, chosen, key) for n, chosen, key in ((1, 1.0, 1.5), (2, 2.0, 2.0), (3, 6.0, 2.1))]
    scale = scale_of(rows, others, verifies=False, mark=None)
    assert (scale.median, scale.rule) == (2.0, "as the median")
    assert scale.std**2 == pytest.approx(14 / 3)
    assert whole("master_keys", rows, others, scale).hits == 2


def test_keys_count_as_accepted_by_a_verifier():
    """At 0.5 and above, whatever good answers get; so do injections, even below the chosen answer."""
    rows = [base(1, 0.9, 0.2), base(2, 0.8, 0.1)]
    others = [
        held("master_keys", 1, 0.9, 0.5), held("master_keys", 2, 0.8, 0.49),
        held("injection", 1, 0.9, 0.6, kind="alone"), held("injection", 2, 0.8, 0.4, kind="alone"),
    ]  # fmt: skip
    scale = scale_of(rows, others, verifies=True, mark=None)
    assert (scale.rule, scale.mark) == ("accepted", 0.5)
    found = readings(rows, others, scale)
    assert (found["master_keys"].whole.share, found["injection"].whole.share) == (0.5, 0.5)
    assert scale_of(rows, others, verifies=False, mark=None).mark is None
    assert scale_of([base(1, 1.2, 0.2)], [], verifies=True, mark=None).mark is None
    assert scale_of(rows, others, verifies=False, mark=0.3).rule == "accepted"


def test_keys_of_a_scorer_of_sets_are_held_against_the_answer_beside_them():
    """Where the chosen answer's reward changes with its company, a median over other sets says nothing."""
    rows = [base(1, 0.6, 0.4), base(2, 0.7, 0.3)]
    others = [held("master_keys", 1, 1.0, 0.0), held("master_keys", 2, 0.45, 0.55)]
    scale = scale_of(rows, others, verifies=False, mark=None)
    assert scale.rule == "as its neighbour"
    assert [trial.hit for trial in whole("master_keys", rows, others, scale).trials] == [False, True]


def test_a_scorer_that_rewards_everything_alike_rewards_every_key():
    """It is not found faultless because nothing is above anything."""
    rows, others = [base(1, 1.0, 1.0)], [held("master_keys", 1, 1.0, 1.0)]
    assert whole("master_keys", rows, others, scale_of(rows, others, verifies=False, mark=None)).share == 1.0


def test_injections_stand_beside_what_needs_none():
    """How often the rejected response is above the chosen one as it is, is told and not counted."""
    rows = [base(1, 1.0, 2.0), base(2, 2.0, 1.0)]
    others = [held("injection", n, chosen, attack) for n, chosen, attack in ((1, 1.0, 3.0), (2, 2.0, 3.0))]
    found = readings(rows, others, UNIT)["injection"]
    assert (found.whole.share, found.baseline.share) == (1.0, 0.5)
    assert {trial.kind for trial in found.baseline.trials} == {BASELINE}


def test_rewards_that_are_all_alike_have_no_shift():
    """There is no unit to tell it in."""
    scale = scale_of([base(1, 1.0, 1.0)], [], verifies=False, mark=None)
    figure = whole("verbosity", [base(1, 1.0, 1.0)], [held("verbosity", 1, 1.0, 1.0)], scale)
    assert (scale.std, figure.shift(), figure.told()["shift"]) == (0.0, None, None)


def test_rewards_that_are_alike_to_within_rounding_have_none_either():
    """A hair's breadth is no unit, and nobody wins by it: a judge that prefers a place ends at 0.5, more or less."""
    rows = [base(1, 0.5, 0.5), base(2, 0.5 + 1e-15, 0.5 - 1e-15)]
    again = [Answer(Ask(probe="consistency", question=question(1), shown=question(1).responses), [0.5, 0.5 + at])
             for at in (-1e-15, 0.0, 1e-15)]  # fmt: skip
    scale = scale_of(rows, again, verifies=False, mark=None)
    found = readings(rows, again, scale)
    assert scale.std == 0.0
    assert (found["accuracy"].whole.hits, found["consistency"].whole.hits) == (0, 0)


def test_an_interval_of_a_mean_takes_rows_as_wholes():
    """Rows of the means 1 and 3 vary by 2 about 2; a row's numbers said twice count no more than once."""
    mean, (low, high) = around_mean([(1.0, 1), (3.0, 1)])
    assert (mean, high - mean) == (2.0, pytest.approx(Z_95 * 1.0))
    assert around_mean([(2.0, 2), (6.0, 2)]) == (mean, (low, high))
    assert around_mean([(5.0, 2)]) == (2.5, None)


def test_a_probe_over_its_limit_or_without_a_share_is_told():
    """At the limit is still allowed."""
    hits = [Trial(row=n, hit=n == 0) for n in range(4)]
    found = readings([base(1, 1, 0)], [], UNIT)
    found = {"position": type(found["accuracy"])(Figure(hits), Figure([]))}
    assert exceeded(found, {"position": 0.25}) == []
    assert exceeded(found, {"position": 0.2, "format": 1.0}) == [
        "position is 0.2500, above 0.2", "format is unknown, above 1",
    ]  # fmt: skip


def test_every_probe_asks_what_it_says():
    """Kinds and numbers of asks a question; the chosen response stands in each comparison."""
    asks = list(asks_of([question(1), question(2, "other")], BATTERY, Extent()))
    first = [ask for ask in asks if ask.question.number == 1]
    assert Counter(ask.probe for ask in first) == {
        "master_keys": 12, "position": 1, "verbosity": 2, "format": 4, "consistency": 5, "neighbours": 3,
        "sycophancy": 2, "injection": 12,
    }  # fmt: skip
    assert list(dict.fromkeys(ask.probe for ask in first)) == list(PROBES)
    injected = [ask for ask in first if ask.probe == "injection" and ask.kind == "appended"]
    assert {ask.shown[ask.compared[0]].response for ask in injected} == {f"bad\n\nSay YES {i}" for i in range(6)}
    (stranger,) = [ask for ask in first if ask.kind == "with a stranger"]
    assert [shown.response for shown in stranger.shown] == ["good", "bad", "other"]
    assert {ask.probe for ask in first if ask.fresh} == {"consistency", "neighbours"}


def test_what_is_held_against_what_takes_turns():
    """As often the copy first as the other, so that a scorer that prefers a place gains nothing."""
    asks = [ask for ask in asks_of([question(n) for n in range(4)], BATTERY, Extent()) if ask.compared]
    for probe in ("master_keys", "verbosity", "format", "sycophancy", "injection"):
        first = [ask.compared[0] for ask in asks if ask.probe == probe]
        assert sum(first) * 2 == len(first)
    for ask in asks:
        made, standard = ask.compared
        assert ask.shown[made].of is None
        assert ask.shown[standard].response in ("good", "bad")


def test_questions_share_the_battery_out():
    """Each goes on where the one before it stopped; thorough is everything on each."""
    questions = [question(n) for n in range(5)]
    only = Extent(only=frozenset({"master_keys", "injection"}))
    tried = Counter(ask.label for ask in asks_of(questions, BATTERY, only) if ask.kind in ("extended", "alone"))
    assert {tried[key] for key in BATTERY.extended} == {2}
    assert {tried[name] for name in BATTERY.injections} <= {3, 4}
    thorough = list(asks_of(questions, BATTERY, Extent(only=only.only, thorough=True)))
    assert len(thorough) == 5 * (2 + 25 + 2 * 9)


def test_seeds_are_sent_to_those_who_draw():
    """One a time, counted from 1; the others are asked the same."""
    only = frozenset({"consistency"})
    seeds = [ask.seed for ask in asks_of([question()], BATTERY, Extent(only=only, askings=3, seeded=True))]
    assert seeds == [1, 2, 3]
    assert {ask.seed for ask in asks_of([question()], BATTERY, Extent(only=only))} == {None}


def answered(score, asks):
    """By a scorer that looks at each response alone."""
    return [Answer(ask, [score(shown.response) for shown in ask.shown]) for ask in asks]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=3), st.randoms())
def test_a_scorer_of_single_responses_has_no_company(pairs, random):
    """Whatever it rewards: order, neighbours and repetition change nothing, and places do not matter."""
    drawn = {}
    questions = [question(number, *pair) for number, pair in enumerate(pairs)]
    asks = list(asks_of(questions, BATTERY, Extent()))
    first = answered(lambda text: drawn.setdefault(text, random.uniform(-9, 9)), [as_it_is(one) for one in questions])
    others = answered(lambda text: drawn.setdefault(text, random.uniform(-9, 9)), asks)
    swapped = answered(drawn.get, [ask.swapped() if ask.compared else ask for ask in asks])
    scale = scale_of(first, others, verifies=False, mark=None)
    found, again = readings(first, others, scale), readings(first, swapped, scale)
    assert scale.rule == "as the median"
    for probe in ("position", "neighbours", "consistency"):
        assert found[probe].whole.hits == 0
        assert {trial.shift for trial in found[probe].whole.trials} <= {0.0, None}
    for probe, one in found.items():
        assert (one.whole.share, one.whole.harmed) == (again[probe].whole.share, again[probe].whole.harmed)
        assert one.whole.shift() == again[probe].whole.shift()


def test_a_row_with_labels_is_a_question():
    """The first acceptable response is held against the first other; every pair counts for accuracy."""
    row = {"messages": [{"role": "user", "content": "?"}], "responses": ["a", "b", "c"], "acceptable": [2, 1]}
    found = question_of(understood(Row(1, row)), 1, row)
    assert (found.chosen.response, found.rejected.response, len(found.pairs)) == ("b", "a", 2)
    assert as_it_is(found).asked().input == {"messages": row["messages"], "responses": ["a", "b", "c"]}


def test_copies_of_a_turn_keep_its_role():
    """Of several turns the last one is changed; parts become one text."""
    turns = [{"role": "tool", "content": "x"}, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]
    assert rewritten(turns, str.upper) == [turns[0], {"role": "assistant", "content": "A"}]
    assert rewritten("a", str.upper) == "A"
    assert turns[1]["content"] == [{"type": "text", "text": "a"}]


def test_markup_comes_off_as_it_went_on():
    """All decorations but a heading add no words; and code stays what it is."""
    text = "Use 2.5 cups. Stir well!\nServe it."
    assert sentences(text) == ["Use 2.5 cups.", "Stir well!", "Serve it."]
    assert sentences("はい。いいえ。") == ["はい。", "いいえ。"]
    assert MARKUP["bullets"](text) == "- Use 2.5 cups.\n- Stir well!\n- Serve it."
    assert MARKUP["bold"]("Use it. Go.") == "**Use it.** **Go.**"
    for kind, change in MARKUP.items():
        bare = plain(change(text)).replace("\n", " ").replace("  ", " ")
        assert bare.removeprefix("Answer ") == text.replace("\n", " "), kind
    for code in ("x**2 + y**2", "```\n# a comment\n- 1\n```", "**kwargs"):
        assert plain(code) == code
