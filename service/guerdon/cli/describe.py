"""``guerdon check`` and ``guerdon models``: what there is, without running any of it."""

from pathlib import Path

import typer

from guerdon.cli.options import ApiKey, ConfigFile, Url
from guerdon.cli.places import place, planned
from guerdon.cli.rows import Json
from guerdon.cli.tables import table
from guerdon.engines.vllm_settings import VllmSettings
from guerdon.ensemble import Model
from guerdon.wiring import EnginePlan, Plan


def check(config: ConfigFile = None) -> None:
    """Check a configuration, without starting it.

    Every setting is checked, every checkpoint looked for, and what they come to is told. Nothing is loaded.

    Examples:
      guerdon check
      guerdon check --config guerdon.yaml

    Exit status: 0 if it can be served, else 1.

    """
    plan = planned(config)
    typer.echo(f"{config or 'the built-in configuration'} can be served.\n")
    typer.echo(_engines(plan) + "\n\n" + _models(plan))
    if plan.config.aliases:
        typer.echo("\n" + table(["alias", "model"], [[*pair] for pair in plan.config.aliases.items()]))


def models(config: ConfigFile = None, url: Url = None, api_key: ApiKey = None) -> None:
    """List what can be asked by name.

    Examples:
      guerdon models --config guerdon.yaml
      guerdon models --url http://127.0.0.1:8000

    """
    rows = [_card(card) for card in place(config, url, api_key).cards()]
    typer.echo(table(["model", "kind", "max tokens", "uses", "aggregation", "revision", "members"], rows, right=(2,)))


def _engines(plan: Plan) -> str:
    headings = ["engine", "checkpoint", "device", "dtype", "placement", "replicas", "threads", "adapters", "scorers"]
    return table(headings, [_engine(engine, plan) for engine in plan.engines], right=(5, 6))


def _engine(engine: EnginePlan, plan: Plan) -> list[str]:
    settings = engine.settings
    scorers = ", ".join(scorer for scorer, used in plan.engine_of.items() if used == engine.name)
    if isinstance(settings, VllmSettings):
        where = settings.url or f"{Path(settings.model).parent.name}/{Path(settings.model).name}"
        return [engine.name, where, settings.server, settings.dtype, engine.placement, "1", "-", "-", scorers]
    folder = Path(settings.folder)
    return [
        engine.name,
        f"{folder.parent.name}/{folder.name}",
        settings.device,
        settings.dtype,
        engine.placement,
        str(engine.replicas),
        str(settings.threads or "auto"),
        ", ".join(Path(adapter.folder).name for adapter in settings.adapters) or "-",
        scorers,
    ]


def _models(plan: Plan) -> str:
    headings = ["model", "kind", "max tokens", "revision", "members"]
    return table(headings, [_model(model) for model in plan.models.values()], right=(2,))


def _model(model: Model) -> list[str]:
    members = ", ".join(member.name for member in model.members)
    return [model.name, model.kind, _tokens(model.max_tokens), model.revision, members]


def _card(card: Json) -> list[str]:
    how = card.get("aggregation")
    return [
        card["id"],
        card["kind"],
        _tokens(card["limits"]["max_tokens"]),
        ", ".join(card["uses"]) or "-",
        _aggregation(how) if how else "-",
        card["revision"],
        ", ".join(card["members"]),
    ]


def _aggregation(how: Json) -> str:
    """The method and what else was set, weights and the like by their names only."""
    numbers = [f"{key} {how[key]:g}" for key in ("coefficient", "level") if key in how]
    named = [key for key in ("weights", "groups", "caps") if key in how]
    return ", ".join([how["method"], *numbers, *named, f"ddof {how['ddof']}"])


def _tokens(limit: int | None) -> str:
    return "any" if limit is None else f"{limit:,}"
