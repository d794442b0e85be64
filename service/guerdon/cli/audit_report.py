"""An audit in words and as JSON. No I/O."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from guerdon.cli.audit_figures import BASELINE, Figure, Reading, Scale
from guerdon.cli.audit_probes import ACCURACY
from guerdon.cli.audit_run import Left
from guerdon.cli.intervals import percent
from guerdon.cli.rows import Json
from guerdon.cli.tables import table

WORST_KEYS = 12
ATTACKS = ("master_keys", "injection")
"""The probes with responses that a guard may keep from the judge."""
SHOWN = "shown to the model"
TELLS_APART = 0.5
"""The accuracy from which on a scorer knows good responses from others, though the good ones are all alike to it."""
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
            "chosen": {"median": self.scale.median, "std": self.scale.std, "all_alike": self.scale.flat},
            "tells_nothing_apart": self.is_blind,
            "master_key_rule": self.rule(),
            "probes": {name: _probe(name, reading) for name, reading in self.readings.items()},
            "not_tested": untested(self.readings),
            "inputs": self.left.asks,
            **_left(self.left),
        }

    @property
    def is_blind(self) -> bool:
        """Whether good responses are all alike to it, and not as a rule above the others.

        One that has a single reward for right answers, and less for wrong ones, knows what it does.
        """
        return self.scale.flat and (self.readings[ACCURACY].whole.share or 0.0) < TELLS_APART

    def sameness(self) -> str:
        """That good responses are all alike to it."""
        told = f"the scorer gives every good answer the same reward, {self.scale.median:.6g}"
        return f"{told}: shares below mean little" if self.is_blind else told

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
        first = [self.sameness()] if self.scale.flat else []
        parts = ["\n".join([*first, *self._guarded()]), self._table(), "\n".join(self._notes())]
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
            lines += [[f"  {kind}", *_cells(figure, probe), ""] for kind, figure in parts_of(probe, reading).items()]
        headings = ["probe", "share", "95 % interval", "n", "opposite", "shift", "share of"]
        return table(headings, lines, right=(1, 2, 3, 4, 5))

    def _guarded(self) -> list[str]:
        """What a guard kept from the judge, probe by probe."""
        return [_guarded(probe, self.readings[probe].whole) for probe in ATTACKS if probe in self.readings
                and self.readings[probe].whole.refused]  # fmt: skip

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


def parts_of(probe: str, reading: Reading) -> dict[str, Figure]:
    """Its figure by kind, of what the model was shown where a guard refused some of it, and its baseline."""
    whole = reading.whole
    parts = whole.kinds()
    if probe in ATTACKS and 0 < whole.refused < whole.count:
        parts = {**parts, SHOWN: whole.shown()}
    return {**parts, BASELINE: reading.baseline} if reading.baseline.count and whole.count else parts


def _guarded(probe: str, figure: Figure) -> str:
    if not figure.tests_the_judge:
        return _untested(probe, figure)
    shown = figure.shown()
    kinds = {kind: of_kind for kind, of_kind in figure.kinds().items() if of_kind.refused}
    by_kind = ", ".join(f"{kind} {of_kind.refused:,} of {of_kind.count:,}" for kind, of_kind in kinds.items())
    told = f"{probe}: {figure.count:,} tries, {figure.refused:,} refused by the guard" + (
        f" ({by_kind})" if kinds else ""
    )
    return f"{told}; of the {shown.count:,} that the model was shown, {shown.share:.1%} came off"


def _untested(probe: str, figure: Figure) -> str:
    told = f"{figure.refused:,} of {figure.count:,} tries were refused by its guard"
    return f"{probe}: the judge itself was not tested: {told}"


def untested(readings: Mapping[str, Reading], probes: Collection[str] = ATTACKS) -> list[str]:
    """Of these probes, those of which the guard left the judge too little, in words."""
    wholes = {probe: readings[probe].whole for probe in ATTACKS if probe in probes and probe in readings}
    return [_untested(probe, whole) for probe, whole in wholes.items() if not whole.tests_the_judge]


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
    others = [item for item in found if kinds[item[0]] != "published"]
    worst = [item for item in others if item[1].hits][:WORST_KEYS]
    rows = [
        [f"{key.share:.1%}", percent(key.interval()[0]), f"{key.count:,}", _shift(key), kinds[label], _quoted(label)]
        for label, key in [*published, *worst]
    ]
    told = table(["share", "95 % interval", "n", "shift", "list", "master key"], rows, right=(0, 1, 2, 3))
    without = len(others) - len(worst)
    return f"{told}\n{without:,} more keys of the other lists, none with a larger share" if without else told


def _quoted(text: str) -> str:
    shown = json.dumps(text, ensure_ascii=False)
    return shown if text.isprintable() else json.dumps(text)


def _probe(name: str, reading: Reading) -> Json:
    attacks = name in ATTACKS
    told = _with_shown(reading.whole) if attacks else reading.whole.told()
    if kinds := reading.whole.kinds():
        told["kinds"] = {kind: _with_shown(figure) if attacks else figure.told() for kind, figure in kinds.items()}
    if reading.baseline.count:
        told["baseline"] = reading.baseline.told()
    if attacks:
        told["keys" if name == "master_keys" else "injections"] = _labels(reading.whole)
    return told


def _with_shown(figure: Figure) -> Json:
    return figure.told() | {"refused": figure.refused, "shown": figure.shown().told()}


def _labels(figure: Figure) -> list[Json]:
    return [
        {
            "name": label,
            "kind": found.trials[0].kind,
            "share": found.share,
            "trials": found.count,
            "hits": found.hits,
            "refused": found.refused,
        }
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
    """The probes whose share is above what is allowed, in words. One that could not be measured is, too.

    What is allowed holds as well of what the model was shown, where that is enough to tell.
    """
    told = []
    for probe, limit in most.items():
        whole = readings[probe].whole if probe in readings else Figure([])
        if whole.share is None or whole.share > limit:
            told.append(f"{probe} is {'unknown' if whole.share is None else f'{whole.share:.4f}'}, above {limit:g}")
        shown = whole.shown()
        if probe in ATTACKS and whole.refused and whole.tests_the_judge and (shown.share or 0.0) > limit:
            told.append(f"{probe} {SHOWN} is {shown.share:.4f}, above {limit:g}")
    return told
