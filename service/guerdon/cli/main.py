"""The ``guerdon`` command."""

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from guerdon.cli.audit import audit
from guerdon.cli.bon import bon
from guerdon.cli.calibrate import calibrate
from guerdon.cli.describe import check, models
from guerdon.cli.evaluate import evaluate
from guerdon.cli.faults import CannotRun
from guerdon.cli.options import ConfigFile
from guerdon.cli.places import planned
from guerdon.cli.rerank import rerank
from guerdon.cli.score import score
from guerdon.cli.server import serve as run_server
from guerdon.cli.starter import init
from guerdon.cli.stored import flush, stats
from guerdon.domain.errors import NotServable

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)  # fmt: skip


def serve(
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on; 0 takes a free one", min=0, max=65535)] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option(help="port for gRPC; without one there is none", min=0, max=65535)
    ] = None,
) -> None:
    """Serve models over HTTP, and over gRPC where it has a port.

    Without a configuration, these are the demonstration ensemble and its parts.

    Examples:
      guerdon serve
      guerdon serve --config guerdon.yaml --host 0.0.0.0 --port 8080 --grpc-port 50051

    """
    raise typer.Exit(run_server(planned(config), host, port, grpc_port))


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. What a user can mend is told without a traceback."""
    try:
        app(args, prog_name="guerdon")
    except (NotServable, CannotRun) as error:
        typer.secho(f"guerdon: {error}", fg="red", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _add(name: str, command: Callable[..., None], to: typer.Typer = app) -> None:
    """Its docstring is its help, and keeps its lines."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    to.command(name, help="\n\n".join(["\b\n" + paragraph for paragraph in paragraphs]))(command)


COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve, "check": check, "models": models, "init": init, "score": score, "rerank": rerank, "bon": bon,
    "eval": evaluate, "calibrate": calibrate, "audit": audit,
}  # fmt: skip
for _name, _command in COMMANDS.items():
    _add(_name, _command)
cache = typer.Typer(no_args_is_help=True, help="Look at the scores that are stored in Redis, or delete some.")
_add("stats", stats, to=cache)
_add("flush", flush, to=cache)
app.add_typer(cache, name="cache")


if __name__ == "__main__":
    main()
