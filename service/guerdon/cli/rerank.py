"""``guerdon rerank``: the best response of every row, and how often it is an acceptable one."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import typer

from guerdon.cli.intervals import percent, wilson
from guerdon.cli.job import SOME_ERRORS, Job, run, tell
from guerdon.cli.options import InFile, Options, OutFile, Overwrite, with_options
from guerdon.cli.rows import Json, acceptable, reranked
from guerdon.cli.tables import table
from guerdon.domain.errors import Invalid

MAX_KINDS = 200
OTHERS = "(others)"


@dataclass(slots=True)
class Picks:
    """Counts over output rows that are labelled."""

    labelled: int = 0
    good: int = 0
    without: int = 0
    unusable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    rows_with: Counter[str] = field(default_factory=Counter)
    picked: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)

    def see(self, row: Json) -> None:
        """Count an output row."""
        if "error" in row:
            return
        labels: frozenset[int] = frozenset()
        if row.get("acceptable") is not None:
            try:
                labels = acceptable(row, len(row["rewards"]))
            except Invalid:
                self.unusable += 1
            else:
                self.without += not labels
                self.labelled += bool(labels)
                self.good += row["best"] in labels
        if _has_kinds(row):
            self._see_kinds(row, labels)

    def _see_kinds(self, row: Json, labels: frozenset[int]) -> None:
        kinds = [str(kind)[:80] for kind in row["kinds"]]
        if len(self.kinds.keys() | set(kinds)) > MAX_KINDS:
            kinds = [kind if kind in self.kinds else OTHERS for kind in kinds]
        rewards = row["rewards"]
        best_good = max((rewards[index] for index in labels), default=None)
        self.picked[kinds[row["best"]]] += 1
        self.rows_with.update(set(kinds))
        for index, kind in enumerate(kinds):
            self.kinds[kind] += 1
            if best_good is not None and index not in labels:
                self.compared[kind] += 1
                self.below[kind] += rewards[index] < best_good

    def report(self) -> str:
        """What was counted, in words; empty where nothing was labelled."""
        return "\n\n".join(part for part in (self._share(), self._table()) if part)

    def _share(self) -> str:
        if not self.labelled:
            return ""
        told = (
            f"best response acceptable: {self.good} of {self.labelled} rows = {self.good / self.labelled:.1%} "
            f"(95 % interval {percent(wilson(self.good, self.labelled))}, Wilson)"
        )
        left_out = [
            f"{self.without} without an acceptable response" if self.without else "",
            f"{self.unusable} whose `acceptable` is not a list of indexes" if self.unusable else "",
        ]
        if any(left_out):
            told += f"\nrows left out: {', '.join(part for part in left_out if part)}"
        return told

    def _table(self) -> str:
        kinds = sorted(self.kinds, key=lambda kind: (-self.picked[kind], kind))
        rows = [
            [kind, str(self.kinds[kind]), f"{self.picked[kind]} of {self.rows_with[kind]} rows", self._below(kind)]
            for kind in kinds
        ]
        headings = ["kind", "responses", "picked as best", "below the best acceptable"]
        return table(headings, rows, right=(1, 2, 3)) if rows else ""

    def _below(self, kind: str) -> str:
        below, compared = self.below[kind], self.compared[kind]
        return f"{below} of {compared} = {below / compared:.0%}" if compared else ""


def _has_kinds(row: Json) -> bool:
    kinds: Any = row.get("kinds")
    return isinstance(kinds, list) and len(kinds) == len(row["rewards"])


@with_options
def rerank(origin: InFile, out: OutFile = None, overwrite: Overwrite = False, *, options: Options) -> None:
    """Rank every row's responses.

    Each row gets `ranking` (indexes, best first), `best` (an index) and `rewards`. Where rows have a list
    `acceptable` of 0-based indexes, and maybe `kinds` (a label for each response), it is told at the end
    how often the best response was an acceptable one.

    Examples:
      guerdon rerank examples/best_of_n.jsonl -o ranked.jsonl
      generate | guerdon rerank - --url http://127.0.0.1:8000 > ranked.jsonl

    Exit status: as of `guerdon score`.

    """
    picks = Picks()
    job = Job(command="rerank", origin=origin, out=out, overwrite=overwrite, written=reranked, see=picks.see)
    count = run(job, options.asking())
    tell(count, out)
    if report := picks.report():
        typer.echo(report, err=out is None)
    if count.errors:
        raise typer.Exit(SOME_ERRORS)
