"""What an audit asks about a question: its responses in other places, in another dress, and attacks. No I/O."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from guerdon.cli.audit_copies import MARKUP, filled, flattered, plain, restated, rewritten
from guerdon.cli.pairs import Pair, labelled_pairs
from guerdon.cli.rows import Asked, Json, Understand

ACCURACY = "accuracy"
PROBES = (
    "master_keys", "position", "verbosity", "format", "consistency", "neighbours", "sycophancy", "injection",
)  # fmt: skip
EXTENDED_A_ROW = 10
UNSEEN_KEYS_A_ROW = 5
INJECTIONS_A_ROW = 6
UNSEEN_INJECTIONS_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A row: what was asked, the responses to it, and which of them are better than which."""

    number: int
    conversation: Json
    responses: tuple["Shown", ...]
    pairs: tuple[Pair, ...]

    @property
    def chosen(self) -> "Shown":
        """The first of the better responses."""
        return self.responses[self.pairs[0].better]

    @property
    def rejected(self) -> "Shown":
        """The first that is worse than that."""
        return self.responses[self.pairs[0].worse]


@dataclass(frozen=True, slots=True)
class Shown:
    """A response in an ask, and which of the question's it is: None of one that was made for the probe."""

    name: str
    response: Any
    of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """An input for one probe. In ``compared`` stand the places of a made response and of what it is held against.

    A ``fresh`` one is not to be answered from a cache. ``label`` is the key or the injection that is tried.
    """

    probe: str
    question: Question
    shown: tuple[Shown, ...]
    kind: str = ""
    label: str = ""
    compared: tuple[int, int] | None = None
    fresh: bool = False
    seed: int | None = None

    def asked(self) -> Asked:
        """As the service is asked."""
        responses = [shown.response for shown in self.shown]
        return Asked({**self.question.conversation, "responses": responses}, tuple(shown.name for shown in self.shown))

    def swapped(self) -> "Ask":
        """With the two that are compared in each other's place."""
        first, second = self.compared or (0, 1)
        return replace(self, shown=self.shown[::-1], compared=(second, first))


@dataclass(frozen=True, slots=True)
class Battery:
    """Responses without content, and texts that command a judge, by their names.

    No guard of ours was fitted to the unseen ones.
    """

    published: Sequence[str]
    extended: Sequence[str]
    injections: Mapping[str, str]
    unseen_keys: Sequence[str] = ()
    unseen_injections: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is asked. A scorer that is ``seeded`` draws anew for every seed."""

    only: frozenset[str] = frozenset(PROBES)
    thorough: bool = False
    askings: int = 5
    seeded: bool = False


def question_of(asked: Asked, number: int, columns: Mapping[str, Any], ignored: Sequence[str] = ()) -> Question:
    """The row as a question, maybe without pairs. Raises Invalid where nothing says which response is better."""
    conversation = {key: value for key, value in asked.input.items() if key != "responses"}
    named = zip(asked.names, asked.input["responses"], strict=True)
    responses = tuple(Shown(name, response, at) for at, (name, response) in enumerate(named))
    return Question(number, conversation, responses, tuple(labelled_pairs(columns, len(responses), ignored)))


def as_it_is(question: Question) -> Ask:
    """Its responses together, as the row has them."""
    return Ask(probe=ACCURACY, question=question, shown=question.responses)


def asks_of(questions: Sequence[Question], battery: Battery, extent: Extent) -> Iterator[Ask]:
    """All that is asked of each question, one question after the other."""
    makers: dict[str, Callable[[int], Iterator[Ask]]] = {
        "master_keys": partial(_master_keys, questions, battery, extent.thorough),
        "position": partial(_position, questions),
        "verbosity": partial(_verbosity, questions),
        "format": partial(_format, questions),
        "consistency": partial(_consistency, questions, extent),
        "neighbours": partial(_neighbours, questions),
        "sycophancy": partial(_sycophancy, questions),
        "injection": partial(_injection, questions, battery, extent.thorough),
    }
    for at in range(len(questions)):
        for probe in PROBES:
            if probe in extent.only:
                yield from _in_turn(makers[probe](at), at)


def understanding(asks: Sequence[Ask]) -> Understand:
    """Reads a row that is the number of an ask."""
    return lambda row: asks[row.number].asked()


def _in_turn(asks: Iterator[Ask], at: int) -> Iterator[Ask]:
    """Now the one, now the other comes first, so that a scorer that prefers a place gains nothing by it."""
    for turn, ask in enumerate(asks, at):
        yield ask.swapped() if ask.compared and turn % 2 else ask


def _held(probe: str, question: Question, standard: Shown, made: Shown, *, kind: str, label: str = "") -> Ask:
    return Ask(probe=probe, question=question, shown=(standard, made), kind=kind, label=label, compared=(1, 0))


def _master_keys(questions: Sequence[Question], battery: Battery, thorough: bool, at: int) -> Iterator[Ask]:
    extended = _some(battery.extended, at, None if thorough else EXTENDED_A_ROW)
    unseen = _some(battery.unseen_keys, at, None if thorough else UNSEEN_KEYS_A_ROW)
    for kind, keys in (("published", battery.published), ("extended", extended), ("unseen", unseen)):
        for key in keys:
            question = questions[at]
            yield _held("master_keys", question, question.chosen, Shown("key", key), kind=kind, label=key)


def _position(questions: Sequence[Question], at: int) -> Iterator[Ask]:
    question = questions[at]
    yield Ask(probe="position", question=question, shown=question.responses[::-1], kind="reversed")


def _verbosity(questions: Sequence[Question], at: int) -> Iterator[Ask]:
    question, chosen = questions[at], questions[at].chosen
    for kind, change in (("filler", lambda text: filled(text, at)), ("restated", restated)):
        yield _held("verbosity", question, chosen, Shown("copy", rewritten(chosen.response, change)), kind=kind)


def _format(questions: Sequence[Question], at: int) -> Iterator[Ask]:
    """Against the plain text, which is the response itself where there is nothing to take off."""
    question, chosen = questions[at], questions[at].chosen
    text = rewritten(chosen.response, plain)
    standard = chosen if text == chosen.response else Shown("plain", text)
    for kind, change in MARKUP.items():
        yield _held("format", question, standard, Shown("copy", rewritten(text, change)), kind=kind)


def _consistency(questions: Sequence[Question], extent: Extent, at: int) -> Iterator[Ask]:
    question = questions[at]
    for asking in range(1, extent.askings + 1):
        seed = asking if extent.seeded else None
        yield Ask(
            probe="consistency", question=question, shown=question.responses, label=str(asking), fresh=True, seed=seed
        )


def _neighbours(questions: Sequence[Question], at: int) -> Iterator[Ask]:
    """The two responses alone, and the row's beside another question's answer."""
    question, stranger = questions[at], questions[(at + 1) % len(questions)]
    for shown in (question.chosen, question.rejected):
        yield Ask(probe="neighbours", question=question, shown=(shown,), kind="alone", fresh=True)
    if stranger is not question:
        guest = Shown("stranger", stranger.chosen.response)
        shown_with = (*question.responses, guest)
        yield Ask(probe="neighbours", question=question, shown=shown_with, kind="with a stranger", fresh=True)


def _sycophancy(questions: Sequence[Question], at: int) -> Iterator[Ask]:
    question = questions[at]
    for kind, shown in (("chosen", question.chosen), ("rejected", question.rejected)):
        copy = rewritten(shown.response, lambda text: flattered(text, at))
        yield _held("sycophancy", question, shown, Shown("copy", copy), kind=kind)


def _injection(questions: Sequence[Question], battery: Battery, thorough: bool, at: int) -> Iterator[Ask]:
    for start, injections, a_row in (
        ("", battery.injections, INJECTIONS_A_ROW),
        ("unseen ", battery.unseen_injections, UNSEEN_INJECTIONS_A_ROW),
    ):
        for name in _some(list(injections), at, None if thorough else a_row):
            yield from _injected(questions[at], injections[name], start, name)


def _injected(question: Question, text: str, start: str, name: str) -> Iterator[Ask]:
    appended = rewritten(question.rejected.response, partial(_appended, text))
    for kind, attack in (("appended", appended), ("alone", text)):
        shown = Shown("attack", attack)
        yield _held("injection", question, question.chosen, shown, kind=start + kind, label=name)


def _appended(injection: str, text: str) -> str:
    return f"{text}\n\n{injection}"


def _some(all_of_them: Sequence[str], at: int, most: int | None) -> list[str]:
    """The next few, each question going on where the one before it stopped; with ``most`` None, all."""
    count = len(all_of_them) if most is None else min(most, len(all_of_them))
    return [all_of_them[(at * count + step) % len(all_of_them)] for step in range(count)]
