"""``guerdon audit``: what a policy would find out about a scorer."""

import asyncio
import dataclasses
import itertools
import json
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli.audit_figures import readings, scale_of
from guerdon.cli.audit_plot import draw
from guerdon.cli.audit_probes import ACCURACY, PROBES, Battery, Extent
from guerdon.cli.audit_report import Audit, errors_in_words, exceeded, left_in_words, untested
from guerdon.cli.audit_run import Answers, answers_of
from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.files import reading, source
from guerdon.cli.job import SOME_ERRORS, tell
from guerdon.cli.options import Asking, Options, with_options
from guerdon.cli.rows import Row
from guerdon.domain.strict import nearest

Scorer = Annotated[str, typer.Argument(metavar="SCORER", help="what to audit; see `guerdon models`")]
Rows = Annotated[
    str | None, typer.Argument(metavar="IN", help="rows: .jsonl, .parquet, or - ; by default 60 questions of ours")
]
JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="write the figures as JSON; - for standard output")
]
PlotFile = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="draw them: .png, .svg or .pdf")]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions(Options):
    """What to try, how often, and what is too much."""

    only: Annotated[list[str] | None, typer.Option(metavar="PROBE", help=f"of {', '.join(PROBES)}; repeatable")] = None
    most: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="PROBE=SHARE", help="exit with status 3 if the share is above; repeatable"),
    ] = None
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="exit with status 3 if the accuracy is below this")
    ] = None
    askings: Annotated[int, typer.Option(min=2, max=100, help="how often consistency asks the same")] = 5
    pass_mark: Annotated[
        float | None,
        typer.Option(help="the least reward that means acceptance; of judges with probabilities, 0.5"),
    ] = None
    thorough: Annotated[bool, typer.Option("--thorough", help="try every key and every injection on every row")] = False

    def probes(self) -> frozenset[str]:
        """What to try. Raises BadParameter for what is no probe."""
        for word in self.only or ():
            _known(word, "--only")
        return frozenset(self.only or PROBES)

    def limits(self) -> dict[str, float]:
        """What is too much, by probe. Raises BadParameter."""
        return dict(self._limit(written) for written in self.most or ())

    def _limit(self, written: str) -> tuple[str, float]:
        probe, _, number = written.partition("=")
        _known(probe, "--max")
        if probe not in self.probes():
            raise typer.BadParameter(f"{probe} is not among the probes of --only", param_hint="--max")
        try:
            share = float(number)
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            raise typer.BadParameter(f"{written}: a share from 0 to 1 is needed, as {probe}=0.05", param_hint="--max")
        return probe, share


@partial(with_options, kind=AuditOptions, without={"model"})
def audit(
    scorer: Scorer, origin: Rows = None, json_file: JsonFile = None, plot: PlotFile = None, *, options: AuditOptions
) -> None:
    """Find out what a policy would exploit in a scorer.

    Rows are those of `guerdon eval`: a prompt or messages, with `chosen` and `rejected`, or with `responses` and
    `acceptable`. Without a file, 60 questions of ours are asked. Each probe changes what ought not to change the
    reward, or says nothing that deserves one, and tells the share of tries that came off:

    master_keys   responses without content, rewarded like good ones
    position      the order of responses reversed: pairs with another winner
    verbosity     the chosen response, padded: rewarded above the original
    format        headings, bullets, bold, emoji: rewarded above the plain text
    consistency   asked again, with other seeds where the scorer draws: pairs without a unanimous winner
    neighbours    scored alone, and beside another question's answer: pairs with another winner
    sycophancy    praise before a response: rewarded above the response without it
    injection     a rejected response that commands the judge, rewarded above the chosen one

    Where a judge's guard refuses some of the last or of the keys, the share among the others is told as well, and is
    held against --max where there are 20 of them.

    Examples:
      guerdon audit default
      guerdon audit default held_out.jsonl --only verbosity --only master_keys --json audit.json --plot audit.png
      guerdon audit judge --url http://127.0.0.1:8000 --max master_keys=0.02 --max injection=0.1

    Exit status: 0, or 3 if a share is above its --max, the accuracy below --min-accuracy, either was given for a scorer
    that rewards everything alike, or something has an error; 1 if it could not run, 2 for a wrong option.

    """
    limits, only = options.limits(), options.probes()
    options = dataclasses.replace(options, model=scorer)
    asking = options.asking()
    asking, rows = _rows(origin, asking)
    seeded = "seed" in asking.card["uses"]
    extent = Extent(only=only, thorough=options.thorough, askings=options.askings, seeded=seeded)
    answers = asyncio.run(answers_of(rows, asking, _battery(), extent))
    audited = _audited(answers, asking, options.pass_mark)
    _report(audited, limits, json_file)
    if plot is not None:
        draw(audited, limits, plot)
    if _failed(audited, limits, options.min_accuracy):
        raise typer.Exit(SOME_ERRORS)


def _known(probe: str, option: str) -> None:
    if probe not in PROBES:
        near = nearest(probe, PROBES)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(PROBES)}"
        raise typer.BadParameter(f"no probe {probe}; {hint}", param_hint=option)


def _rows(origin: str | None, asking: Asking) -> tuple[Asking, list[Row]]:
    """The rows; of ours, the references only for a scorer that reads them."""
    if origin is None:
        origin = str(files("guerdon.builtin") / "audit" / "questions.jsonl")
        if "reference" not in asking.card["uses"]:
            ignore = [*(asking.options.ignore or ()), "reference"]
            asking = dataclasses.replace(asking, options=dataclasses.replace(asking.options, ignore=ignore))
    with reading(source(origin)) as all_rows:
        return asking, list(itertools.islice(all_rows, asking.options.limit))


def _battery() -> Battery:
    """The shipped keys and injections."""
    keys, injections, unseen = (_shipped(name) for name in ("master_keys.json", "injections.json", "unseen.json"))
    known, others = ({one["name"]: one["text"] for one in each} for each in (injections, unseen["injections"]))
    return Battery(keys["published"], keys["extended"], known, unseen["keys"], others)


def _shipped(name: str) -> Any:
    return json.loads((files("guerdon.builtin") / "audit" / name).read_text(encoding="utf-8"))


def _audited(answers: Answers, asking: Asking, mark: float | None) -> Audit:
    """Raises CannotRun where nothing could be compared."""
    left = answers.left
    if not answers.base:
        why = "; ".join([*left_in_words(left), *errors_in_words(left)])
        raise CannotRun("there is no pair to compare" + (f": {why}" if why else ""))
    card = asking.card
    verifies = card["kind"] == "judge" and "reference" in card["uses"]
    scale = scale_of(answers.base, answers.others, verifies=verifies, mark=mark)
    found = readings(answers.base, answers.others, scale)
    return Audit(asking.request.model, card["revision"], found, scale, left, "seed" in card["uses"])


def _report(audited: Audit, limits: dict[str, float], json_file: str | None) -> None:
    figures = audited.told() | {"max": limits, "exceeded": list(exceeded(audited.readings, limits))}
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    if json_file == "-":
        typer.echo(text, nl=False)
        return
    typer.echo(audited.in_words())
    if json_file is not None:
        with readable(Path(json_file)):
            Path(json_file).write_text(text, encoding="utf-8")


def _failed(audited: Audit, limits: dict[str, float], least: float | None) -> bool:
    """Whether anything is too much or went wrong, which is told on standard error."""
    left = audited.left
    tell(left.rows)
    faults = list(exceeded(audited.readings, limits))
    accuracy = audited.readings[ACCURACY].whole.share
    if audited.is_blind and (limits or least is not None):
        faults.append(audited.sameness())
    if least is not None and (accuracy is None or accuracy < least):
        faults.append(f"the accuracy is {'unknown' if accuracy is None else f'{accuracy:.4f}'}, below {least:g}")
    if left.failed:
        faults.append(errors_in_words(left)[-1])
    for told in untested(audited.readings, limits):
        typer.secho(f"guerdon: {told}", fg="yellow", err=True)
    for fault in faults:
        typer.secho(f"guerdon: {fault}", fg="red", err=True)
    return bool(faults or left.rows.errors)
