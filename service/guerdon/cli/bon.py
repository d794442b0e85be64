"""``guerdon bon``: the best-of-n curve of a scored file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import ValidationError

from guerdon.aggregation import Aggregation, aggregate
from guerdon.best_of_n import expected_best, kl_bound
from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.files import reading, source
from guerdon.cli.options import InFile
from guerdon.cli.rows import Json
from guerdon.cli.tables import table

Proxy = Annotated[str, typer.Option(metavar="COLUMN", help="the rewards that choose: a list with one a response")]
Gold = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="the rewards that count; without it, the proxy's own are told")
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD[:NUMBER]",
        help="choose by an aggregation of the column `members` instead, as uwo:0.5, wco or quantile:0.25; repeatable",
    ),
]
Counts = Annotated[
    str | None, typer.Option("--n", metavar="N,N,...", help="by default the powers of two, and all responses")
]
JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="write the curves as JSON; - for standard output")
]
PlotFile = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="draw them: .png, .svg or .pdf")]


@dataclass(frozen=True, slots=True)
class Curve:
    """Means over the prompts for each n, of what counts and of what chose, with the former's standard error.

    There is no standard error with a single prompt.
    """

    name: str
    gold: list[float]
    gold_error: list[float] | None
    proxy: list[float]


def bon(
    origin: InFile, proxy: Proxy = "rewards", gold: Gold = None, by: By = None, n: Counts = None,
    json_file: JsonFile = None, plot: PlotFile = None,
) -> None:  # fmt: skip
    """Tell what the best of n responses is worth, for every n.

    The file is what `guerdon score` writes: each row is a prompt with the `rewards` of its N responses. The curve is
    the mean over all ways to choose n of the N (Nakano et al. 2021), so no response has to be drawn twice, and over
    the prompts. Beside n stands ln n - (n - 1) / n, an upper bound on the divergence from the policy, in nats.

    With a column of gold rewards one sees over-optimisation: the gold reward of the response that the proxy likes
    best falls again as n grows. Rows with `members` (`guerdon score --detail members`) can be chosen from by other
    aggregations, without scoring anything again.

    Examples:
      guerdon bon scored.jsonl --plot curve.png
      guerdon bon scored.jsonl --gold gold --by mean --by wco --by uwo:0.5

    Exit status: 0, 1 if it could not run, 2 for a wrong option.

    """
    left_out = _LeftOut()
    prompts = list(_prompts(origin, [proxy] if not by else [], gold, by, left_out))
    if not prompts:
        raise CannotRun(f"{origin}: there is no row with {'members' if by else proxy}{left_out.told()}")
    if left_out.any:
        typer.secho(f"guerdon: {len(prompts):,} rows{left_out.told()}", fg="yellow", err=True)
    counts = _counts(n, min(len(prompt.values[0]) for prompt in prompts))
    names = by or [proxy]
    curves = [_curve(name, at, prompts, counts) for at, name in enumerate(names)]
    told = _told(curves, counts, len(prompts), gold)
    if json_file == "-":
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(_in_words(curves, counts, gold))
        if json_file is not None:
            with readable(Path(json_file)):
                Path(json_file).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        _draw(curves, counts, gold, plot)


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One row's responses: by each way to choose, their rewards; and those that count."""

    values: list[list[float]]
    gold: list[float] | None


@dataclass(slots=True)
class _LeftOut:
    """Rows that say nothing of the curve."""

    errors: int = 0
    degraded: int = 0

    @property
    def any(self) -> bool:
        """Whether there are such rows."""
        return bool(self.errors or self.degraded)

    def told(self) -> str:
        """In words."""
        counted = ((self.errors, "with an error"), (self.degraded, "with members missing"))
        parts = [f"{count:,} {what}" for count, what in counted if count]
        return f"; left out: {', '.join(parts)}" if parts else ""


def _prompts(
    origin: str, columns: Sequence[str], gold: str | None, by: Sequence[str] | None, left_out: _LeftOut
) -> Iterator[_Prompt]:
    """Raises CannotRun for a row that lacks what is asked for, or whose members are others than the first row's."""
    ways = [(one, _way(one)) for one in by or ()]
    names: list[str] = []
    with reading(source(origin)) as rows:
        for row in rows:
            where = f"{origin}: row {row.number}"
            if row.fault is not None:
                raise CannotRun(f"{where}: {row.fault.message}")
            if "error" in row.columns:
                left_out.errors += 1
                continue
            if ways and row.columns.get("member_errors"):
                left_out.degraded += 1
                continue
            values = [_numbers(row.columns, column, where) for column in columns]
            if ways:
                members = _members(row.columns, where)
                names = names or list(members)
                if members.keys() != set(names):
                    raise CannotRun(f"{where}: members: {', '.join(members)}; the rows before have {', '.join(names)}")
                columns_of = [members[name] for name in names]
                values = [_aggregated(columns_of, names, written, way, where) for written, way in ways]
            counted = None if gold is None else _numbers(row.columns, gold, where)
            if counted is not None and len(counted) != len(values[0]):
                raise CannotRun(f"{where}: {len(values[0])} rewards and {len(counted)} in {gold}")
            yield _Prompt(values, counted)


def _numbers(columns: Mapping[str, Any], name: str, where: str) -> list[float]:
    found = columns.get(name)
    if not isinstance(found, list) or not found:
        raise CannotRun(f"{where}: {name}: a list of numbers is needed, one a response")
    for index, one in enumerate(found):
        if type(one) not in (int, float) or not math.isfinite(one):
            raise CannotRun(f"{where}: {name}[{index}]: a finite number is needed, and this is {str(one)[:40]}")
    return list(map(float, found))


def _way(written: str) -> Aggregation:
    """An aggregation as METHOD or METHOD:NUMBER, the number being its coefficient or level."""
    method, _, number = written.partition(":")
    given: Json = {"method": method}
    if number:
        given["level" if method in ("quantile", "cvar") else "coefficient"] = number
    try:
        return Aggregation.model_validate(given)
    except ValidationError as error:
        raise CannotRun(f"--by {written}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _members(columns: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    members = columns.get("members")
    if not isinstance(members, dict) or not members:
        raise CannotRun(f"{where}: members: missing; score the file with --detail members")
    told = {name: _numbers(members, name, f"{where}: members") for name in members}
    first = next(iter(told))
    for name, scores in told.items():
        if len(scores) != len(told[first]):
            raise CannotRun(f"{where}: members: {len(told[first])} of {first} and {len(scores)} of {name}")
    return told


def _aggregated(
    columns: Sequence[Sequence[float]], names: Sequence[str], written: str, way: Aggregation, where: str
) -> list[float]:
    try:
        how = way.fitted(names)
    except ValueError as error:
        raise CannotRun(f"--by {written}: {error}") from error
    with np.errstate(over="ignore", invalid="ignore"):
        rewards = aggregate(list(zip(*columns, strict=True)), how, names)
    if not all(map(math.isfinite, rewards)):
        raise CannotRun(f"{where}: the members' scores are too far apart for {written} to be a number")
    return rewards


def _counts(written: str | None, most: int) -> list[int]:
    if written is None:
        powers = [1 << power for power in range(most.bit_length())]
        return sorted({*powers, most})
    try:
        counts = sorted({int(part) for part in written.split(",")})
    except ValueError as error:
        raise CannotRun(f"--n {written}: whole numbers are needed, with commas between them") from error
    if not 1 <= counts[0] <= counts[-1] <= most:
        raise CannotRun(f"--n {written}: from 1 to {most}, the fewest responses of a row")
    return counts


def _curve(name: str, at: int, prompts: Sequence[_Prompt], counts: Sequence[int]) -> Curve:
    with np.errstate(over="ignore", invalid="ignore"):
        proxies = [expected_best(prompt.values[at], prompt.values[at], counts) for prompt in prompts]
        golds = [expected_best(prompt.values[at], prompt.gold or prompt.values[at], counts) for prompt in prompts]
        gold, proxy = np.mean(golds, axis=0), np.mean(proxies, axis=0)
        spread = np.std(golds, axis=0, ddof=1) if len(prompts) > 1 else None
    if not np.isfinite([gold, proxy]).all() or (spread is not None and not np.isfinite(spread).all()):
        raise CannotRun(f"{name}: the rewards are too large for their mean to be a number")
    error = None if spread is None else (spread / math.sqrt(len(prompts))).tolist()
    return Curve(name, gold=gold.tolist(), gold_error=error, proxy=proxy.tolist())


def _told(curves: Sequence[Curve], counts: Sequence[int], prompts: int, gold: str | None) -> Json:
    return {
        "prompts": prompts,
        "n": list(counts),
        "kl_bound": [kl_bound(count) for count in counts],
        "curves": {
            curve.name: {"proxy": curve.proxy}
            | ({"gold": curve.gold, "gold_standard_error": curve.gold_error} if gold else {})
            for curve in curves
        },
    }


def _in_words(curves: Sequence[Curve], counts: Sequence[int], gold: str | None) -> str:
    what = gold or "reward"
    headings = ["n", "KL at most", *(f"{what} by {curve.name}" for curve in curves)]
    rows = [
        [f"{count:,}", f"{kl_bound(count):.3f}", *(_with_error(curve, at) for curve in curves)]
        for at, count in enumerate(counts)
    ]
    told = [table(headings, rows, right=range(len(headings)))]
    if curves[0].gold_error is not None:
        told.append("+- is the standard error of the mean over the prompts")
    if gold is not None:
        told += [_peak(curve, counts, gold) for curve in curves]
    return "\n".join(told)


def _with_error(curve: Curve, at: int) -> str:
    return f"{curve.gold[at]:.4f}" + (f" +-{curve.gold_error[at]:.4f}" if curve.gold_error is not None else "")


def _peak(curve: Curve, counts: Sequence[int], gold: str) -> str:
    at = int(np.argmax(curve.gold))
    fall = curve.gold[at] - curve.gold[-1]
    return f"{curve.name}: {gold} is highest at n = {counts[at]:,}, and {fall:.4f} lower at n = {counts[-1]:,}"


def _draw(curves: Sequence[Curve], counts: Sequence[int], gold: str | None, file: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise CannotRun("--plot needs matplotlib; run: pip install 'guerdon[plot]'") from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    kl = [kl_bound(count) for count in counts]
    for curve in curves:
        axes.plot(kl, curve.gold, marker=".", label=curve.name)
        if curve.gold_error is not None:
            middle, half = np.array(curve.gold), np.array(curve.gold_error)
            axes.fill_between(kl, middle - half, middle + half, alpha=0.15)
    axes.set_xlabel("KL from the policy, at most (nats)")
    axes.set_ylabel(gold or "reward")
    axes.legend(title="band: one standard error" if curves[0].gold_error is not None else None)
    with readable(file):
        try:
            figure.savefig(file, dpi=150)
        except ValueError as error:
            raise CannotRun(f"--plot {file}: {error}") from error
