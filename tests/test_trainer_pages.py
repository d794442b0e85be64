"""The pages for trainers: what they show parses, and what they name is there."""

import ast
import importlib
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml

from guerdon_client import AsyncClient, trl, verl

PAGES = sorted((Path(__file__).parents[1] / "docs" / "trainers").glob("*.md"))


def blocks(page, language):
    """The page's blocks in a language, those of lists included."""
    return [textwrap.dedent(block) for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_shown_parses_and_what_it_imports_is_there(page):
    """Python by its own parser, whose imports from the client are tried; YAML; commands by the shell's words."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("guerdon_client"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)
    for block in blocks(page, "console"):
        assert shlex.split(block)


def test_names_in_text_are_those_of_the_code():
    """Paths that a trainer is given as text, and the arguments of the tables."""
    text = "".join(page.read_text() for page in PAGES)
    for path in re.findall(r"guerdon_client\.[a-z_]+\.[a-z_]+", text):
        module, name = path.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name), path
    page = next(page for page in PAGES if page.stem == "trl").read_text()
    named = {name for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    known = set(inspect.signature(trl.reward_func).parameters) | set(inspect.signature(AsyncClient).parameters)
    assert named - {"client"} <= known
    assert set(inspect.signature(trl.reward_func).parameters) - {"url", "client"} <= named
    assert str(verl.PROMPT_KEYS)[1:-1].replace("'", "`") in (PAGES[0].parent / "verl.md").read_text()
