"""Counts how often the better response has the higher reward. No I/O."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guerdon.cli.intervals import Interval, bootstrap, wilson
from guerdon.cli.rows import Json, acceptable

MAX_GROUPS = 1000
OTHERS = "(others)"
FEW_ROWS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of a row, by index: the one labelled better, and the other."""

    better: int
    worse: int


def labelled_pairs(columns: Mapping[str, Any], responses: int, ignored: Collection[str] = ()) -> list[Pair]:
    """Chosen against rejected, or every acceptable response against every other. Raises Invalid."""
    used = {key for key, value in columns.items() if value is not None and key not in ignored}
    if "chosen" in used and "responses" not in used:
        return [Pair(0, 1)]
    good = acceptable(columns, responses)
    return [Pair(better, worse) for better in sorted(good) for worse in range(responses) if worse not in good]


def label_of(columns: Mapping[str, Any], column: str, pair: Pair, responses: int) -> str:
    """The group of a pair: the row's value, or, in a list with one value a response, the worse one's."""
    value = columns.get(column)
    if isinstance(value, list) and len(value) == responses:
        value = value[pair.worse]
    return "(none)" if value is None else str(value)[:80]


@dataclass(slots=True)
class Accuracy:
    """Pairs that were compared. A tie is a wrong answer."""

    pairs: int = 0
    correct: int = 0
    ties: int = 0
    margins: float = 0.0
    rows: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, margins: Sequence[float]) -> None:
        """Count one row's pairs by the better response's reward minus the other's."""
        correct = sum(margin > 0 for margin in margins)
        self.pairs += len(margins)
        self.correct += correct
        self.ties += sum(margin == 0 for margin in margins)
        self.margins += sum(margins)
        self.rows[len(margins), correct] += 1

    @property
    def share(self) -> float:
        """Of the pairs, those in the right order."""
        return self.correct / self.pairs

    def interval(self) -> tuple[Interval, str]:
        """95 %, and how it was found. Pairs of one row are not independent, so rows are what is drawn.

        Drawing shows too little spread where there are few rows, and none at all where they all agree:
        there, a row counts as one trial, whatever its pairs.
        """
        rows = sum(self.rows.values())
        if rows == self.pairs:
            return wilson(self.correct, self.pairs), "Wilson"
        if rows < FEW_ROWS or self.correct in (0, self.pairs):
            return wilson(self.share * rows, rows), "Wilson over rows"
        return bootstrap(self.rows), "bootstrap over rows"

    def told(self) -> Json:
        """As JSON."""
        if not self.pairs:
            return {"pairs": 0}
        interval, method = self.interval()
        return {
            "accuracy": self.share,
            "interval_95": list(interval),
            "interval_method": method,
            "pairs": self.pairs,
            "correct": self.correct,
            "ties": self.ties,
            "mean_margin": self.margins / self.pairs,
            "rows": sum(self.rows.values()),
        }


@dataclass(slots=True)
class Evaluation:
    """All pairs of a file, and the same by the values of columns."""

    by: Sequence[str] = ()
    ignored: Collection[str] = ()
    whole: Accuracy = field(default_factory=Accuracy)
    groups: dict[str, dict[str, Accuracy]] = field(default_factory=dict)
    without_pairs: int = 0

    def add(self, columns: Mapping[str, Any], rewards: Sequence[float]) -> None:
        """Count a rewarded row."""
        pairs = labelled_pairs(columns, len(rewards), self.ignored)
        if not pairs:
            self.without_pairs += 1
            return
        self.whole.add([_margin(pair, rewards) for pair in pairs])
        for column in self.by:
            self._add_groups(column, [(label_of(columns, column, pair, len(rewards)), pair) for pair in pairs], rewards)

    def _add_groups(self, column: str, labelled: Iterable[tuple[str, Pair]], rewards: Sequence[float]) -> None:
        groups = self.groups.setdefault(column, {})
        margins: dict[str, list[float]] = {}
        for label, pair in labelled:
            known = label if label in groups or len(groups) + len(margins) < MAX_GROUPS else OTHERS
            margins.setdefault(known, []).append(_margin(pair, rewards))
        for label, of_group in margins.items():
            groups.setdefault(label, Accuracy()).add(of_group)

    def told(self) -> Json:
        """As JSON."""
        by = {
            column: {label: group.told() for label, group in sorted(groups.items())}
            for column, groups in self.groups.items()
        }
        return {**self.whole.told(), "rows_without_pairs": self.without_pairs, **({"by": by} if self.by else {})}


def _margin(pair: Pair, rewards: Sequence[float]) -> float:
    return rewards[pair.better] - rewards[pair.worse]
