"""``guerdon cache``: what is stored in Redis, and how to be rid of it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cache.redis_contents import flush as flush_scorer
from guerdon.cache.redis_contents import stored
from guerdon.cache.settings import RedisSettings
from guerdon.cli.faults import CannotRun
from guerdon.cli.options import ConfigFile
from guerdon.cli.tables import table
from guerdon.config.config import Config
from guerdon.config.load import environment, load
from guerdon.domain.strict import nearest

Scorer = Annotated[str, typer.Option(help="whose scores")]
Tenant = Annotated[str | None, typer.Option(help="of one tenant only")]


def stats(config: ConfigFile = None) -> None:
    """Count the stored scores, by tenant and scorer, and tell how Redis is.

    Example:
      guerdon cache stats --config guerdon.yaml

    """
    _, settings, base = _redis(config)
    found = asyncio.run(stored(settings, base))
    rows = [[tenant, scorer, f"{count:,}"] for (tenant, scorer), count in sorted(found.entries.items())]
    typer.echo(table(["tenant", "scorer", "scores"], rows, right=(2,)))
    if found.facts:
        typer.echo("\n" + "\n".join(f"{name}: {value}" for name, value in found.facts.items()))


def flush(scorer: Scorer, tenant: Tenant = None, config: ConfigFile = None) -> None:
    """Delete a scorer's stored scores from Redis.

    A scorer that changes (its model, its template, any setting) never finds the scores of what it was before: this
    only frees their room. Running services keep what they hold in their own memory.

    Example:
      guerdon cache flush --config guerdon.yaml --scorer reward

    """
    loaded, settings, base = _redis(config)
    for name, given in (("--scorer", scorer), ("--tenant", tenant)):
        if given is not None and not given.replace("-", "").replace("_", "").isalnum():
            raise CannotRun(f"{name} {given}: a name has letters, digits, - and _; of scorer.head, it is the scorer")
    deleted = asyncio.run(flush_scorer(settings, base, scorer=scorer, tenant=tenant or "*"))
    near = None if deleted or scorer in loaded.scorers else nearest(scorer, loaded.scorers)
    typer.echo(f"{deleted:,} scores deleted" + (f"; did you mean {near}?" if near else ""))


def _redis(config: Path | None) -> tuple[Config, RedisSettings, Path]:
    """The configuration, where its Redis is, and the folder of its files. Raises CannotRun where there is none."""
    loaded, base = load(config, environment())
    if loaded.cache.redis is None:
        raise CannotRun("cache.redis: the configuration names none")
    return loaded, loaded.cache.redis, base
