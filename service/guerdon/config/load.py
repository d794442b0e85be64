"""Reads the configuration: one YAML file, overridden by environment variables."""

import copy
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from guerdon.config.config import Config
from guerdon.domain.errors import NotServable
from guerdon.domain.strict import path_of
from guerdon.scorers.settings import KINDS

PREFIX = "GUERDON_"
VARIANTS = frozenset({*KINDS, "reward_model/vllm"})
RECIPES = frozenset({"grm", "principle", "pairwise", "verifier", "rubric", "tool"})


def builtin_file() -> Path:
    """The configuration that is served when none is given."""
    return Path(str(files("guerdon.builtin") / "config.yaml"))


def load(file: Path | None, environment: Mapping[str, str]) -> tuple[Config, Path]:
    """The configuration, and the folder that its relative paths start from. Raises NotServable."""
    source = file or builtin_file()
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise NotServable(f"{source}: {error.strerror or 'cannot be read'}") from error
    try:
        written = yaml.load(text, Loader=_OnceLoader)
    except yaml.YAMLError as error:
        raise NotServable(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(written, dict):
        raise NotServable(f"{source}: the file is not a map of settings; see `guerdon init`")
    return parse(overridden(written, environment), str(source)), source.resolve().parent


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one map, of which YAML would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key `{twice}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse(written: Mapping[str, Any], source: str) -> Config:
    """Raises NotServable that names every faulty key."""
    try:
        return Config.model_validate(written)
    except ValidationError as error:
        faults = [
            f"{path_of(_written_path(fault['loc'])) or 'configuration'}: {_said(fault)}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise NotServable(f"{source}:\n  " + "\n  ".join(faults)) from error


def _said(fault: Mapping[str, Any]) -> str:
    if fault["type"] in ("byte_size", "byte_size_unit"):
        return "a size is needed, such as 512MiB or 0"
    return str(fault["msg"]).removeprefix("Value error, ")


def _written_path(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Pydantic puts a scorer's kind behind its name, and a judge's recipe behind that, where no one wrote them."""
    if loc[:1] != ("scorers",) or len(loc) < 3 or loc[2] not in VARIANTS:
        return loc
    rest = loc[4:] if loc[2] == "judge" and len(loc) > 3 and loc[3] in RECIPES else loc[3:]
    return (*loc[:2], *rest)


def overridden(written: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings with ``GUERDON_A__B=value`` put in place of ``a.b``. Values are read as YAML."""
    settings: dict[str, Any] = copy.deepcopy(dict(written))
    for name, value in environment.items():
        if name.startswith(PREFIX) and "__" in name:
            _set(settings, name.removeprefix(PREFIX).split("__"), yaml.safe_load(value))
    return settings


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = settings.setdefault(_existing(settings, part), {})
        if not isinstance(inner, dict):
            raise NotServable(f"{PREFIX}{'__'.join(path)}: `{part.lower()}` is no group of settings")
        settings = inner
    settings[_existing(settings, path[-1])] = value


def _existing(settings: Mapping[str, Any], part: str) -> str:
    """The key as it is written in the file, whatever its case; else lower case."""
    return next((key for key in settings if key.lower() == part.lower()), part.lower())


def environment() -> Mapping[str, str]:
    """The process's environment: read here and nowhere else."""
    return os.environ


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where converted tokenizers are kept between runs."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "guerdon"
