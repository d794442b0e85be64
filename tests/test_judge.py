"""A judge by itself: how votes are had, counted and told, and what its guard keeps from the model."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.errors import DeadlineExceeded, Invalid, Overloaded, UnparsableVerdict
from guerdon.domain.events import Judged
from guerdon.domain.samples import Sample, assistant, user
from guerdon.domain.scores import Score
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.guard import GuardSettings
from guerdon.scorers.judges.judge import NOT_SHOWN, Judge, Voting
from guerdon.scorers.judges.pairwise import Pairwise, PairwiseSettings
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Unparsable, Vote
from guerdon.scorers.judges.tool import ToolJudge, ToolSettings
from guerdon.scorers.judges.verifier import Verifier, VerifierSettings
from judge_engines import Always, Saying, Scripted
from judged import HELD, grm, order_of, principle, rubric, sample, text_of
from test_guard import ATTACKS, HONEST, KEYS

KEY = "Solution:"
"""A response that the guard refuses."""
JUDGE_THIS = Chat(messages=user("Judge this."), max_tokens=1)


class Fixed:
    """A recipe that asks once a vote, and says what a test tells it to, whatever the answer."""

    uses = frozenset()
    set_wise = True
    identity = ("fixed",)

    def __init__(self, votes, *, least=1, floor=0.0):
        self._votes = iter(votes)
        self.least, self.floor = least, floor

    async def vote(self, asked, seed, ask):
        said = next(self._votes)
        await ask(JUDGE_THIS)
        if isinstance(said, Exception):
            raise said
        return said


def scores(*rows):
    return [Vote(scores=row, rationale=f"because {row}") for row in rows]


def judge_of(recipe, model=None, *, meta=None, guard=None, told=None, **voting):
    return Judge(
        recipe,
        model or Always("whatever"),
        Voting(**voting),
        name="j",
        guard=guard or GuardSettings(),
        record=[].append if told is None else told.append,
        meta=meta,
    )


def judged(judge, *samples):
    """The outcomes."""

    async def run():
        return await judge.score(samples, asyncio.get_running_loop().time() + 30)

    return asyncio.run(run())


def the_score(judge, asked):
    (outcome,) = judged(judge, asked)
    assert isinstance(outcome, Score), outcome
    return outcome


def values(score):
    return [value for (value,) in score.values]


def test_votes_are_averaged_or_added_up():
    """By hand: (8, 6), (4, 2) and (9, 1) come to 21 and 9, or 7 and 3."""
    said = scores((8.0, 6.0), (4.0, 2.0), (9.0, 1.0))
    for combine, expected in (("sum", [21.0, 9.0]), ("mean", [7.0, 3.0])):
        score = the_score(judge_of(Fixed(said), votes=3, combine=combine), sample(2))
        assert values(score) == expected
        assert score.report["sum"] == [21.0, 9.0]
        assert score.report["mean"] == [7.0, 3.0]
        assert [score.report[name] for name in ("votes", "valid", "kept")] == [3, 3, 3]


def test_what_every_vote_said_is_reported():
    """Scores and rationale of each; of one that holds no verdict, why, and what the model wrote."""
    said = [*scores((8.0,)), Unparsable("no box")]
    report = the_score(judge_of(Fixed(said), votes=2), sample(1)).report
    assert report["ballots"] == [
        {"scores": [8.0], "rationale": "because (8.0,)"},
        {"error": "no box", "rationale": "whatever"},
    ]
    json.dumps(report)


def test_votes_without_a_verdict_do_not_count():
    """The mean is that of the others; a sum is of fewer."""
    for combine, expected in (("sum", [10.0]), ("mean", [5.0])):
        told = []
        said = [*scores((7.0,)), Unparsable("none"), *scores((3.0,))]
        score = the_score(judge_of(Fixed(said), votes=3, min_valid=2, combine=combine, told=told), sample(1))
        assert values(score) == expected
        assert [score.report[name] for name in ("votes", "valid", "kept")] == [3, 2, 2]
        assert told == [Judged("j", 3, 2, ())]


def test_too_few_votes_with_a_verdict_are_an_error_with_a_reason():
    """Never a score from what is left; what was asked is counted all the same."""
    told = []
    said = [*scores((7.0,)), Unparsable("the box is empty"), Unparsable("other")]
    (outcome,) = judged(judge_of(Fixed(said), votes=3, min_valid=2, told=told), sample(1))
    assert isinstance(outcome, UnparsableVerdict)
    assert outcome.message == "j: 1 of 3 votes hold a verdict: the box is empty"
    assert told == [Judged("j", 3, 1, ())]


def test_preferences_are_the_mean_of_the_votes():
    """Entry by entry."""
    tables = [((0.5, 1.0), (0.0, 0.5)), ((0.5, 0.25), (0.75, 0.5))]
    said = [Vote(scores=(0.5, 0.5), preferences=table) for table in tables]
    report = the_score(judge_of(Fixed(said, least=2), votes=2), sample(2)).report
    assert report["preferences"] == [[0.5, 0.625], [0.375, 0.5]]


def test_all_tokens_of_all_votes_are_counted():
    """Of those without a verdict, too."""
    score = the_score(judge_of(Fixed([*scores((1.0,), (2.0,)), Unparsable("none")]), votes=3), sample(1))
    assert score.tokens == 30
    assert (score.report["prompt_tokens"], score.report["completion_tokens"]) == (21, 9)


class Meta:
    """A reward model that scores what a judge wrote by a number in it, or fails."""

    def __init__(self, error=None):
        self.error, self.samples = error, []

    async def score(self, samples, deadline):
        self.samples += samples
        numbers = [float(one.responses[0][0].content) for one in samples]
        if self.error is not None:
            return [self.error if number == 3 else one_score(number) for number in numbers]
        return [one_score(number) for number in numbers]


def one_score(value):
    return Score(values=((value,),), truncated=(False,))


def by_meta(texts, said, meta, **voting):
    """A judge of which the votes' answers are the given texts."""
    return judge_of(Fixed(said), Scripted(texts), meta=meta, votes=len(texts), **voting)


def test_the_votes_that_the_meta_reward_model_prefers_count():
    """By hand: of (1, 2), (3, 4), (5, 6), (7, 8), rated 3, 9, 1 and 4, the second and the fourth: mean (5, 6)."""
    meta = Meta()
    said = scores((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0))
    score = the_score(by_meta(["3", "9", "1", "4"], said, meta, meta_keep=2), sample(2))
    assert values(score) == [5.0, 6.0]
    assert [score.report[name] for name in ("votes", "valid", "kept")] == [4, 4, 2]
    assert [ballot["meta"] for ballot in score.report["ballots"]] == [3.0, 9.0, 1.0, 4.0]
    asked = meta.samples[0]
    assert asked.messages == JUDGE_THIS.messages
    assert asked.responses == (assistant("3"),)


def test_equally_rated_votes_count_in_their_order():
    """The first of them."""
    score = the_score(by_meta(["5", "5", "5"], scores((1.0,), (2.0,), (9.0,)), Meta(), meta_keep=2), sample(1))
    assert values(score) == [1.5]


def test_a_meta_reward_model_that_fails_is_an_error():
    """Votes that nobody rated are not counted in its place."""
    failing = by_meta(["1", "3"], scores((1.0,), (2.0,)), Meta(Overloaded("full")), meta_keep=1)
    (outcome,) = judged(failing, sample(1))
    assert isinstance(outcome, Overloaded)


def test_a_meta_reward_model_is_not_asked_where_nothing_is_to_choose():
    """As many votes as are kept, or fewer."""
    meta = Meta()
    assert values(the_score(by_meta(["1", "2"], scores((1.0,), (2.0,)), meta, meta_keep=2), sample(1))) == [1.5]
    assert meta.samples == []


def chats(asked, **voting):
    model = Always("\\boxed{" + ", ".join("1" for _ in asked.responses) + "}")
    judged(judge_of(grm(), model, **voting), asked)
    return model.chats


def test_equal_questions_are_asked_equally():
    """The same chats byte for byte; another seed, of the request or of the settings, makes others."""
    first = chats(sample(5), votes=4)
    assert chats(sample(5), votes=4) == first
    assert len({chat.seed for chat in first}) == 4
    others = [chats(sample(5, seed=1), votes=4), chats(sample(5, seed=2), votes=4), chats(sample(5), votes=4, seed=1)]
    for other in others:
        assert not {chat.seed for chat in other} & {chat.seed for chat in first}
    assert len({str([order_of(chat) for chat in one]) for one in [first, *others]}) == 4


def test_more_votes_begin_with_the_same():
    """A judge with eight votes asks what one with four asks, and more."""
    assert chats(sample(3), votes=8)[:4] == chats(sample(3), votes=4)


def by_number(chat):
    return "\\boxed{" + ", ".join(map(str, order_of(chat))) + "}"


def by_number_named(chat):
    numbers = {f"model-{place}": number for place, number in enumerate(order_of(chat), 1)}
    return json.dumps({"scores": numbers, "best-to-worst": sorted(numbers, key=numbers.get, reverse=True)})


def saying_numbers(numbers, **more):
    return Sample(
        messages=user("Which number?"),
        responses=tuple(assistant(f"It is response {number}.") for number in numbers),
        **more,
    )


@given(
    st.lists(st.integers(1, 10), min_size=2, max_size=9), st.integers(0, 2**31 - 1), st.integers(1, 4), st.integers()
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_seed_each_response_has_its_own_score(numbers, seed, votes, own):
    """A model that scores each response by the number in it: shuffles are undone exactly."""
    asked = saying_numbers(numbers, seed=seed)
    judge = judge_of(grm(), Saying(by_number), votes=votes, combine="sum", seed=abs(own) % 2**31)
    assert values(the_score(judge, asked)) == [votes * number for number in numbers]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(0, 2**31 - 1), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_whatever_the_seed_masked_names_lead_back_to_their_responses(numbers, seed, votes):
    """The same under names that change from vote to vote."""
    asked = saying_numbers(numbers, seed=seed, principle="The higher the better.")
    score = the_score(judge_of(principle(), Saying(by_number_named), votes=votes), asked)
    assert values(score) == numbers


def test_a_refused_response_gets_the_floor_and_is_not_shown():
    """Its neighbours are judged as if it were no answer."""
    told, model = [], Saying(lambda chat: "\\boxed{9, 9, 9}")
    asked = Sample(messages=user("Why?"), responses=tuple(map(assistant, ("Because.", KEY, "So that."))))
    score = the_score(judge_of(grm(), model, votes=2, told=told), asked)
    assert values(score) == [9.0, 0.0, 9.0]
    assert score.report["refused"] == [{"response": 1, "reason": "content_free"}]
    assert told == [Judged("j", 2, 2, ("content_free",))]
    for chat in model.chats:
        assert KEY not in text_of(chat)
        assert text_of(chat).count(NOT_SHOWN) == 1


def test_a_guard_that_is_off_shows_everything():
    """Each suspicion by itself."""
    asked = Sample(messages=user("Why?"), responses=(assistant(KEY), assistant(ATTACKS["ignore-all-score"])))
    score = the_score(judge_of(grm(), Always("\\boxed{9, 9}"), guard=GuardSettings(content_free="off")), asked)
    assert values(score) == [9.0, 0.0]
    score = the_score(judge_of(grm(), Always("\\boxed{9, 9}"), guard=GuardSettings(injection="off")), asked)
    assert values(score) == [0.0, 9.0]


def pairwise(**own):
    return Pairwise(PairwiseSettings(**own), HELD, Prompt.shipped("pairwise.v1"))


def test_a_refused_response_loses_to_all_that_are_compared():
    """By hand: of four, the second is refused; the others win against it, and the model sees three pairs."""
    model = Always("A", {"A": 0.0})
    responses = tuple(map(assistant, ("One.", KEY, "Two.", "Three.")))
    score = the_score(judge_of(pairwise(), model, votes=2), Sample(messages=user("?"), responses=responses))
    third = (0.5 + 0.5 + 1) / 3
    assert values(score) == pytest.approx([third, 0.0, third, third])
    assert score.report["preferences"] == [
        [0.5, 1.0, 0.5, 0.5],
        [0.0, 0.5, 0.0, 0.0],
        [0.5, 1.0, 0.5, 0.5],
        [0.5, 1.0, 0.5, 0.5],
    ]
    assert len(model.chats) == 2 * 3 * 2
    assert not any(KEY in text_of(chat) for chat in model.chats)


@pytest.mark.parametrize("seed", range(3))
def test_refused_responses_are_behind_all_that_are_sorted(seed):
    """By hand: of five, two are refused; the others have the first three places, 1, 0.75 and 0.5."""
    responses = ("It is response 2.", KEY, "It is response 9.", KEY, "It is response 5.")

    def higher(chat):
        first, second = order_of(chat)
        return yes(chat) if first > second else Generation(text="B", first={"B": 0.0})

    judge = judge_of(pairwise(tournament="sort"), Saying(higher), votes=2)
    score = the_score(judge, Sample(messages=user("?"), responses=tuple(map(assistant, responses)), seed=seed))
    assert values(score) == [0.5, 0.0, 1.0, 0.0, 0.75]


def test_sorted_responses_that_tie_are_before_a_refused_one():
    """By hand: of three, two share the first two places, 1 and 0.5."""
    model = Always("A", {"A": 0.0})
    asked = Sample(messages=user("?"), responses=tuple(map(assistant, ("One.", KEY, "Two."))))
    assert values(the_score(judge_of(pairwise(tournament="sort"), model), asked)) == [0.75, 0.0, 0.75]


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("tournament", ["all", "sort"])
def test_where_one_response_is_left_it_wins_unasked(combine, tournament):
    """On the same scale as if all votes had said so."""
    model, told = Always("A", {"A": 0.0}), []
    responses = tuple(map(assistant, (KEY, "One.", KEY)))
    judge = judge_of(pairwise(tournament=tournament), model, votes=4, combine=combine, told=told)
    score = the_score(judge, Sample(messages=user("?"), responses=responses))
    assert values(score) == [0.0, 1.0 if combine == "mean" else 4.0, 0.0]
    assert [score.report[name] for name in ("votes", "valid", "kept")] == [0, 0, 0]
    assert (score.tokens, score.report["ballots"], model.chats) == (0, [], [])
    assert told == [Judged("j", 0, 0, ("content_free", "content_free"))]


@pytest.mark.parametrize("recipe", [grm(), pairwise(), principle(principle="p"), rubric()])
def test_where_all_are_refused_the_model_is_not_asked(recipe):
    """Each gets the floor, whatever the number of votes that would have been."""
    model, count = Always("yes"), 2 if recipe.set_wise else 1
    asked = Sample(messages=user("?"), responses=(assistant(KEY),) * count)
    meta = Meta()
    assert values(the_score(judge_of(recipe, model, votes=4, min_valid=4, meta=meta), asked)) == [recipe.floor] * count
    assert (model.chats, meta.samples) == ([], [])


def test_who_compares_needs_something_to_compare():
    """A lone response is the caller's mistake."""
    (outcome,) = judged(judge_of(pairwise()), sample(1))
    assert isinstance(outcome, Invalid)
    assert (outcome.field, outcome.message) == ("responses", "j compares responses: it needs 2 at least")


def test_an_error_of_the_engine_fails_the_sample_and_calls_off_its_other_votes():
    """And no other sample's."""
    called_off = []

    class Failing:
        async def generate(self, chat, deadline):
            if "It is response 1." not in text_of(chat):
                return Generation(text="\\boxed{1}")
            if not called_off:
                called_off.append("begun")
                await asyncio.sleep(0)
                raise Overloaded("full", retry_after_s=3)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                called_off.append("cancelled")
                raise

    failed, good = judged(judge_of(grm(), Failing(), votes=3), sample(2), sample(1))
    assert isinstance(failed, Overloaded)
    assert (failed.message, failed.retry_after_s) == ("full", 3)
    assert values(good) == [1.0]
    assert called_off == ["begun", "cancelled", "cancelled"]


def test_a_deadline_is_passed_on():
    """To every question, and the engine's error comes back."""
    seen = []

    class Late:
        async def generate(self, chat, deadline):
            seen.append(deadline)
            raise DeadlineExceeded("late")

    async def run():
        return await judge_of(grm(), Late(), votes=2).score([sample(1)], 12345.0)

    (outcome,) = asyncio.run(run())
    assert isinstance(outcome, DeadlineExceeded)
    assert set(seen) == {12345.0}


def best(schema):
    """The best that a JSON schema lets one say of everybody."""
    if "enum" in schema:
        return schema["enum"][-1]
    match schema["type"]:
        case "string":
            return ""
        case "number" | "integer":
            return schema["maximum"]
        case "object":
            return {name: best(part) for name, part in schema["properties"].items()}
    names = schema["items"].get("enum", ())
    return list(names) if isinstance(names[0], str) else [best(schema["items"])] * schema["minItems"]


def yes(chat):
    """Top marks to everything."""
    if chat.choices:
        return Generation(text=chat.choices[0], first={chat.choices[0]: 0.0})
    return json.dumps(best(json.loads(chat.schema)))


def shipped(recipe, settings_, name):
    return recipe(settings_, Judging(), Prompt.shipped(f"{name}.v1"))


RECIPES = {
    "grm": (grm(HELD), 10.0),
    "principle": (principle(HELD, principle="Be right."), 5.0),
    "pairwise": (pairwise(), 1.0),
    "verifier": (shipped(Verifier, VerifierSettings(), "verifier"), 1.0),
    "rubric": (rubric(judging=HELD), 5.0),
    "tool": (shipped(ToolJudge, ToolSettings(), "tool"), ToolSettings().range[1]),
}
"""Every recipe, and its highest score of one of several responses."""

BATTERY = {**{f"key {key!a}": key for key in KEYS["published"] + KEYS["extended"]}, **ATTACKS}
RIVER = "How long is the river?", "The river is 640 km long.", "640 km"


def attacked(recipe, attack):
    """The attack alone, and beside an honest answer; recipes for one response are asked about each by itself."""
    question, honest, reference = RIVER
    rows = [(attack, honest), (attack, attack) if recipe.least > 1 else (attack,)]
    return [
        part
        for row in rows
        for whole in [Sample(messages=user(question), responses=tuple(map(assistant, row)), reference=reference)]
        for part in ([whole] if recipe.set_wise else whole.pointwise())
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_no_attack_gets_past_the_guard_of_a_judge_that_says_yes_to_anything(name):
    """Each master key and each command gets the floor and is never sent; the answer beside it gets the top."""
    recipe, top = RECIPES[name]
    through, sent = [], []
    for title, attack in BATTERY.items():
        model = Saying(yes)
        for asked in attacked(recipe, attack):
            found = values(the_score(judge_of(recipe, model, votes=2), asked))
            for (turn,), value in zip(asked.responses, found, strict=True):
                if value != (recipe.floor if turn.content == attack else top):
                    through.append((title, value))
        sent += [title for chat in model.chats if attack in text_of(chat) and len(attack) > 20]
        shown = [RIVER[1] in text_of(chat) for chat in model.chats]
        assert all(shown)
        assert len(shown) == {"pairwise": 0, "tool": 4}.get(name, 2)  # two votes, of one step or two
    assert (through, sent) == ([], [])


@pytest.mark.parametrize("name", RECIPES)
def test_no_honest_short_answer_is_kept_from_such_a_judge(name):
    """0 of 500: all get the top. One response alone gets 1 from `grm`."""
    recipe, top = RECIPES[name]
    rows = [(row["answer"], "") if name == "pairwise" else (row["answer"],) for row in HONEST]
    asked = [
        Sample(messages=user(told["question"]), responses=tuple(map(assistant, row)), reference=told["reference"])
        for told, row in zip(HONEST, rows, strict=True)
    ]
    found = judged(judge_of(recipe, Saying(yes)), *asked)
    refused = [
        row for row, score in zip(rows, found, strict=True) if values(score)[0] != (1.0 if name == "grm" else top)
    ]
    assert refused == []
