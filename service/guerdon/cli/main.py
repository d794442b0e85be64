"""The ``guerdon`` command."""

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.server import serve as run_server
from guerdon.config.load import cache_folder, environment, load
from guerdon.wiring import Plan, plan

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="configuration file", envvar="GUERDON_CONFIG")]


@app.command()
def serve(
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on; 0 takes a free one", min=0, max=65535)] = 8000,
) -> None:
    """Serve the configured models over HTTP; without a configuration, the demonstration ensemble."""
    raise typer.Exit(run_server(planned(config), host, port))


@app.command()
def check() -> None:
    """X"""


def planned(config: Path | None) -> Plan:
    settings, base = load(config, environment())
    return plan(settings, base=base, cache=cache_folder(environment()))


if __name__ == "__main__":
    app()
