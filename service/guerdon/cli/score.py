"""``guerdon score``: the rewards of every row."""

from typing import Annotated, Literal

import typer

from guerdon.cli.job import SOME_ERRORS, Job, run, tell
from guerdon.cli.options import InFile, Options, OutFile, Overwrite, with_options
from guerdon.cli.rows import scored

Detail = Annotated[Literal["rewards", "members"], typer.Option(help="members: what each member said, too")]


@with_options
def score(
    origin: InFile, out: OutFile = None, overwrite: Overwrite = False, detail: Detail = "rewards", *, options: Options
) -> None:
    """Reward every row of a file.

    A row has `prompt` or `messages`, and `responses`, `response`, or `chosen` and `rejected`. Whole
    conversations as `chosen` and `rejected` need no prompt. Every other column is passed on.
    Each row gets `rewards` (and `std`, for an ensemble), or `error` where the row cannot be rewarded.
    A run that was cut off goes on where it stopped when the same command is given again.

    Examples:
      guerdon score examples/pairs.jsonl -o rewarded.jsonl
      guerdon score rollouts.parquet -o rewarded.parquet --url http://127.0.0.1:8000 --detail members

    Exit status: 0 if all rows are rewarded, 3 if some have an error, 1 if it could not run, 2 for a wrong option.

    """
    job = Job(command="score", origin=origin, out=out, overwrite=overwrite, written=scored)
    count = run(job, options.asking(detail))
    tell(count, out)
    if count.errors:
        raise typer.Exit(SOME_ERRORS)
