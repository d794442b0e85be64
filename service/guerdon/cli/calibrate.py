"""``guerdon calibrate``: each member's mean and standard deviation on a user's file."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.faults import CannotRun, readable
from guerdon.cli.files import reading, source
from guerdon.cli.job import SOME_ERRORS, Count, rewarded, tell, total_rows, understanding
from guerdon.cli.moments import Moments, independent
from guerdon.cli.options import COMBINING, Asking, InFile, Options, with_options
from guerdon.cli.places import card_of
from guerdon.cli.progress import Watching, watching
from guerdon.cli.rows import Json, Row
from guerdon.cli.tables import table
from guerdon.config.calibration import CalibrationFile, Data, Measured

HARDLY = 1.5
"""An ensemble worth fewer independent members than this can hardly disagree."""
CalibrationOut = Annotated[Path, typer.Option("--out", "-o", help="where the calibration is written (JSON)")]


@partial(with_options, without=COMBINING)
def calibrate(origin: InFile, out: CalibrationOut, *, options: Options) -> None:
    """Measure the members of an ensemble on a file of your own.

    Members differ in scale and offset, so they are brought to mean 0 and standard deviation 1 before they are
    combined. This measures both on every response of the file, as `guerdon score` reads it, and writes them to a
    small file, which the configuration then names: `calibration_file: calibration.json`.

    It also tells how the members correlate, and how many independent ones they are worth: an ensemble is cautious
    only where its members can disagree. Heads on one frozen backbone often cannot.

    Examples:
      guerdon calibrate examples/pairs.jsonl --model default -o calibration.json
      guerdon calibrate my_responses.parquet --config guerdon.yaml --model ensemble -o calibration.json

    Exit status: as of `guerdon score`.

    """
    rows_from = source(origin)
    identity = rows_from.identity()
    if identity is None:
        raise CannotRun("calibrate: a file is needed, of which the calibration can tell the hash")
    asking = options.asking_members()
    members = asking.card["members"]
    moments, count = Moments(len(members)), Count()
    total = total_rows(identity, asking)
    with reading(rows_from) as rows, watching(total, 0, to_terminal=False) as progress:
        asyncio.run(_measure(itertools.islice(rows, options.limit), asking, moments, count, progress))
    tell(count)
    measured = _measured(moments, asking)
    data = Data(name=Path(origin).name, sha256=identity.sha256, rows=count.rows - count.errors)
    with readable(out):
        out.write_text(CalibrationFile(data=data, members=measured).model_dump_json(indent=2) + "\n", encoding="utf-8")
    typer.echo(_report(members, moments))
    typer.echo(f"guerdon: written to {out}; name it in the configuration: calibration_file: {out.name}", err=True)
    if count.errors:
        raise typer.Exit(SOME_ERRORS)


async def _measure(rows: Iterator[Row], asking: Asking, moments: Moments, count: Count, progress: Watching) -> None:
    async with contextlib.aclosing(rewarded(rows, asking, understanding(asking))) as stream:
        async for chunk in stream:
            errors = count.errors
            for result in chunk:
                count.add(result.item)
                if "error" not in result.item:
                    moments.add(_raw(result.item, asking.card["members"]))
            progress.advance(len(chunk), count.errors - errors)


def _raw(item: Json, members: list[str]) -> list[tuple[float, ...]]:
    """The members' raw scores, a response a row; of a single scorer these are its rewards."""
    columns = [item["members_raw"][name] for name in members] if "members_raw" in item else [item["rewards"]]
    return list(zip(*columns, strict=True))


def _measured(moments: Moments, asking: Asking) -> dict[str, Measured]:
    """Raises CannotRun where there is too little to measure."""
    if moments.count < 2:
        raise CannotRun(f"calibrate: {moments.count} responses could be scored; a standard deviation needs more")
    cards, found = asking.place.cards(), {}
    for at, name in enumerate(asking.card["members"]):
        mean, std = float(moments.mean[at]), float(moments.std[at])
        if not std > 0:
            raise CannotRun(f"calibrate: {name} gives every response the same score, {mean:g}")
        revision = card_of(cards, name)["revision"]
        found[name] = Measured(mean=mean, std=std, responses=moments.count, revision=revision)
    return found


def _report(members: list[str], moments: Moments) -> str:
    scales = [
        [name, f"{moments.count:,}", f"{mean:.4g}", f"{std:.4g}"]
        for name, mean, std in zip(members, moments.mean, moments.std, strict=True)
    ]
    told = table(["member", "responses", "mean", "std"], scales, right=(1, 2, 3))
    if len(members) < 2:
        return told
    correlations = moments.correlations
    rows = [[name, *(f"{one:.3f}" for one in line)] for name, line in zip(members, correlations, strict=True)]
    worth = independent(correlations)
    parts = [
        told,
        table(["correlation", *members], rows, right=range(1, len(members) + 1)),
        f"worth {worth:.2f} independent members of {len(members)}",
    ]
    if worth < HARDLY:
        parts.append(
            "These members can hardly disagree: their minimum and variance say little that their mean does not.\n"
            "Members that were trained apart, from different starts, disagree more than heads on one backbone."
        )
    return "\n\n".join(parts)
