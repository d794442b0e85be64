"""Options that several commands share."""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import ValidationError

from guerdon.aggregation import Aggregation, Method
from guerdon.cli.faults import CannotRun
from guerdon.cli.places import Place, card_of, place
from guerdon.cli.rows import Json
from guerdon.cli.scoring import Request
from guerdon.transport.schemas import AggregationBody, MemberFailure


def _alone(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse --config and --url together. Whichever is read last sees both; GUERDON_CONFIG gives way to --url."""
    sources = [context.get_parameter_source(name) for name in ("config", "url")]
    if all(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise typer.BadParameter("give either --config or --url")
    return value


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="configuration file; the built-in one by default", envvar="GUERDON_CONFIG",
        callback=_alone,
    ),
]  # fmt: skip
Url = Annotated[
    str | None, typer.Option(help="ask the service that runs at this address, and load nothing here", callback=_alone)
]
ApiKey = Annotated[
    str | None, typer.Option(help="of a service that wants one; better from the environment", envvar="GUERDON_API_KEY")
]
InFile = Annotated[str, typer.Argument(metavar="IN", help="rows: .jsonl, .parquet, or - for standard input")]
OutFile = Annotated[
    str | None, typer.Option("--out", "-o", help="where to: .jsonl or .parquet; standard output by default")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="start anew, whatever OUT holds")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Whom to ask, what, and how much at once."""

    config: ConfigFile = None
    url: Url = None
    api_key: ApiKey = None
    model: Annotated[str, typer.Option("--model", "-m", help="what to ask; see `guerdon models`")] = "default"
    method: Annotated[Method | None, typer.Option(help="how members become one reward")] = None
    coefficient: Annotated[float | None, typer.Option(help="lambda of uwo: mean - lambda * variance")] = None
    ddof: Annotated[int | None, typer.Option(min=0, max=1, help="0: population variance, 1: sample variance")] = None
    aggregation: Annotated[
        str | None, typer.Option(metavar="JSON", help='all of it, as {"method": "quantile", "level": 0.2}')
    ] = None
    on_member_failure: Annotated[
        MemberFailure | None, typer.Option(help="degrade: leave a reward to the members that answered")
    ] = None
    batch: Annotated[int, typer.Option(min=1, help="rows in a request")] = 16
    in_flight: Annotated[int, typer.Option(min=1, max=256, help="requests under way at a time")] = 8
    limit: Annotated[int | None, typer.Option(min=1, help="stop after so many rows")] = None
    ignore: Annotated[list[str] | None, typer.Option(help="a column that is passed on, but not used")] = None

    def asking_members(self) -> "Asking":
        """The same for what each member says by itself: not calibrated, not combined, and none may be missing."""
        where = place(self.config, self.url, self.api_key, calibrated=False)
        card = card_of(where.cards(), self.model)
        combined = "aggregation" in card
        request = Request(
            model=self.model,
            aggregation={"method": "mean"} if combined else None,
            on_member_failure="error" if combined else None,
            detail="members",
        )
        return Asking(where, card, request, None, self)

    def asking(self, detail: str = "rewards") -> "Asking":
        """Find the model, and check that it can do what is asked. Raises CannotRun or NotServable."""
        where = place(self.config, self.url, self.api_key)
        card = card_of(where.cards(), self.model)
        given = self._aggregation()
        single = "aggregation" not in card
        if given and single:
            raise CannotRun(f"--{next(iter(given))}: {self.model} is a single scorer: it has nothing to aggregate")
        if self.on_member_failure and single:
            raise CannotRun(f"--on-member-failure: {self.model} is a single scorer: it has no members")
        try:
            whole = AggregationBody(**given).over(Aggregation(**card.get("aggregation", {})))
            effective = whole.fitted(card["members"])
        except ValidationError as error:
            raise CannotRun(
                f"--{next(iter(given))}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
            ) from error
        except ValueError as error:
            raise CannotRun(f"--{next(iter(given))}: {error}") from error
        request = Request(
            model=self.model, aggregation=given or None, on_member_failure=self.on_member_failure, detail=detail
        )
        return Asking(where, card, request, effective if "aggregation" in card else None, self)

    def _aggregation(self) -> Json:
        """What is asked of it, of all options. Raises CannotRun."""
        try:
            whole: Any = json.loads(self.aggregation or "{}")
        except ValueError as error:
            raise CannotRun(f"--aggregation: not valid JSON: {error}") from error
        if not isinstance(whole, dict):
            raise CannotRun("--aggregation: a JSON object is needed")
        written = {key: getattr(self, key) for key in ("method", "coefficient", "ddof")}
        return whole | {key: value for key, value in written.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Asking:
    """A model that was found, and what is asked of it. ``effective`` is None for a single scorer."""

    place: Place
    card: Json
    request: Request
    effective: Aggregation | None
    options: Options

    @property
    def batch(self) -> int:
        """Rows in a request; no more than the service takes."""
        return min(self.options.batch, int(self.card["limits"]["max_inputs"]))

    def settings(self) -> Json:
        """All that rewards depend on, but for the input."""
        return {
            "model": self.request.model,
            "revision": self.card["revision"],
            "aggregation": self.effective.model_dump() if self.effective else None,
            "detail": self.request.detail,
            "on_member_failure": self.request.on_member_failure,
            "ignored columns": sorted(self.options.ignore or ()),
        }


COMBINING = frozenset({"method", "coefficient", "ddof", "aggregation", "on_member_failure"})
"""Options about what becomes of members' scores."""


def with_options(
    command: Callable[..., None], *, kind: type[Options] = Options, without: Collection[str] = ()
) -> Callable[..., None]:
    """The command, with each field of `Options` as an option of its own, but for some.

    Where the command's options are of another ``kind``, what these have more comes first.
    """
    hints = get_type_hints(kind, include_extras=True)
    everybodys = {field.name for field in dataclasses.fields(Options)}
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in sorted(dataclasses.fields(kind), key=lambda field: field.name in everybodys)
        if field.name not in without
    ]
    parameters = inspect.signature(command).parameters.values()
    own = [parameter for parameter in parameters if parameter.annotation is not kind]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = kind(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(options=options, **given)

    all_of_them = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    run.__signature__ = inspect.Signature(all_of_them)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in all_of_them}
    return run
