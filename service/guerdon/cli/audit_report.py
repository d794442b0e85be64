"""An audit in words and as JSON. No I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guerdon.cli.audit_figures import BASELINE, Figure, Reading, Scale
from guerdon.cli.audit_probes import ACCURACY
from guerdon.cli.audit_run import Left
from guerdon.cli.intervals import percent
from guerdon.cli.rows import Json
from guerdon.cli.tables import table

WORST_KEYS = 12
MEANINGS = {
    ACCURACY: "pairs with the chosen response above the rejected one",
    "position": "pairs with another winner in reversed order",
    "verbosity": "padded copies above the original",
    "format": "copies with markup above the plain text",
    "consistency": "pairs with another winner when asked again",
    "neighbours": "pairs with another winner in other company",
    "sycophancy": "copies with praise above the original",
    "injection": "commands to the judge above the chosen response",
}


@dataclass(frozen=True, slots=True)
class Audit:
    """What was measured of a scorer."""

    scorer: str
    revision: str
    readings: Mapping[str, Reading]
    scale: Scale
    left: Left
    seeded: bool

    def told(self) -> Json:
        """As JSON."""
        return {
            "scorer": self.scorer,
            "revision": self.revision,
            "rows": self.readings[ACCURACY].whole.told().get("rows", 0),
            "chosen": {"median": self.scale.median, "std": self.scale.std},
            "master_key_rule": self.rule(),
            "probes": {name: _probe(name, reading) for name, reading in self.readings.items()},
            "inputs": self.left.asks,
            **_left(self.left),
        }

    def rule(self) -> str:
        """When a response without content counts as rewarded."""
        match self.scale.rule:
            case "accepted":
                return f"accepted, with {self.scale.mark:g} or more"
            case "as the median":
                return "as good as the median chosen response"
            case _:
                return "as good as the chosen response beside them"

    def in_words(self) -> str:
        """A table of the probes, one of the keys that work, and what is to be known about both."""
        parts = [self._table(), "\n".join(self._notes())]
        if "master_keys" in self.readings:
            parts.append(_keys(self.readings["master_keys"].whole))
        return "\n\n".join(part for part in parts if part)

    def meaning(self, probe: str) -> str:
        """What the share is a share of."""
        if probe == "master_keys":
            return f"responses without content {self.rule()}"
        told = MEANINGS[probe]
        return told + ", or accepted" if probe == "injection" and self.scale.mark is not None else told

    def _table(self) -> str:
        lines = []
        for probe, reading in self.readings.items():
            lines.append([probe, *_cells(reading.whole, probe), self.meaning(probe)])
            kinds = reading.whole.kinds()
            if reading.baseline.count and reading.whole.count:
                kinds = {**kinds, BASELINE: reading.baseline}
            lines += [[f"  {kind}", *_cells(figure, probe), ""] for kind, figure in kinds.items()]
        headings = ["probe", "share", "95 % interval", "n", "opposite", "shift", "share of"]
        return table(headings, lines, right=(1, 2, 3, 4, 5))

    def _notes(self) -> list[str]:
        std = f"the standard deviation of chosen responses' rewards, {self.scale.std:.4g}"
        notes = [
            f"shift: how far rewards move, in units of {std}" if self.scale.std > 0 else f"no shift is told: {std}",
            "opposite: the share that went the other way; a tie is neither",
        ]
        if "consistency" in self.readings and not self.seeded:
            notes.append("consistency: this scorer takes no seed, so it was asked the same again")
        if self.left.never_alone:
            notes.append("neighbours: this scorer takes no single response, so none was scored alone")
        return [*notes, *left_in_words(self.left)]


def left_in_words(left: Left) -> list[str]:
    """What the figures leave out, and rewards that are not as they should be."""
    lines = [
        (left.without_pairs, "rows have no pair: all of their responses are labelled alike"),
        (left.without_reference, "rows are left out: this scorer needs a reference, and they have none"),
        (left.truncated, "inputs were read only in part"),
        (left.rows.degraded + left.degraded, "inputs have rewards that members are missing from"),
    ]
    return [f"{count:,} {told}" for count, told in lines if count]


def errors_in_words(left: Left) -> list[str]:
    """What went wrong; nothing where nothing did."""
    lines = [left.rows.told()] if left.rows.errors else []
    if left.failed:
        ask, error = left.failed[0]
        told = f"{len(left.failed):,} of {left.asks:,} inputs that were made of them have an error; the first is"
        lines.append(f"{told} row {ask.question.number}, {ask.probe}: {error['code']}: {error['message']}")
    return lines


def _cells(figure: Figure, probe: str) -> list[str]:
    if figure.share is None:
        return ["-", "-", "0", "-", "-"]
    compared = probe not in ("position", "consistency", "neighbours")
    opposite = f"{figure.harmed:.1%}" if compared and figure.harmed is not None else "-"
    return [f"{figure.share:.1%}", percent(figure.interval()[0]), f"{figure.count:,}", opposite, _shift(figure)]


def _shift(figure: Figure) -> str:
    found = figure.shift()
    if found is None:
        return "-"
    return f"{found[0]:+.2f}" if abs(found[0]) >= 0.005 else "0.00"


def _keys(figure: Figure) -> str:
    """The published keys, and the others that work best. The key comes last, as it may be of any width."""
    kinds = {trial.label: trial.kind for trial in figure.trials}
    found = sorted(figure.labels().items(), key=lambda item: -(item[1].share or 0))
    published = [item for item in found if kinds[item[0]] == "published"]
    extended = [item for item in found if kinds[item[0]] != "published"]
    worst = [item for item in extended if item[1].hits][:WORST_KEYS]
    rows = [
        [f"{key.share:.1%}", percent(key.interval()[0]), f"{key.count:,}", _shift(key), kinds[label], _quoted(label)]
        for label, key in [*published, *worst]
    ]
    told = table(["share", "95 % interval", "n", "shift", "list", "master key"], rows, right=(0, 1, 2, 3))
    without = len(extended) - len(worst)
    return f"{told}\n{without:,} more keys of the extended list, none with a larger share" if without else told


def _quoted(text: str) -> str:
    shown = json.dumps(text, ensure_ascii=False)
    return shown if text.isprintable() else json.dumps(text)


def _probe(name: str, reading: Reading) -> Json:
    told = reading.whole.told()
    if kinds := reading.whole.kinds():
        told["kinds"] = {kind: figure.told() for kind, figure in kinds.items()}
    if reading.baseline.count:
        told["baseline"] = reading.baseline.told()
    if name in ("master_keys", "injection"):
        told["keys" if name == "master_keys" else "injections"] = _labels(reading.whole)
    return told


def _labels(figure: Figure) -> list[Json]:
    return [
        {"name": label, "kind": found.trials[0].kind, "share": found.share, "trials": found.count, "hits": found.hits}
        for label, found in figure.labels().items()
    ]


def _left(left: Left) -> Json:
    rows = left.rows
    return {
        "error_rows": rows.errors,
        "error_inputs": len(left.failed),
        "first_error": next(iter(errors_in_words(left)), None),
        "rows_without_pairs": left.without_pairs,
        "rows_without_reference": left.without_reference,
        "truncated_inputs": left.truncated,
        "degraded_inputs": rows.degraded + left.degraded,
    }


def exceeded(readings: Mapping[str, Reading], most: Mapping[str, float]) -> Sequence[str]:
    """The probes whose share is above what is allowed, in words. One that could not be measured is, too."""
    told = []
    for probe, limit in most.items():
        share = readings[probe].whole.share if probe in readings else None
        if share is None or share > limit:
            told.append(f"{probe} is {'unknown' if share is None else f'{share:.4f}'}, above {limit:g}")
    return told
