"""The page on judges: what it shows is valid, and what it names is what there is."""

import json
import re
from pathlib import Path

import jinja2.meta
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guerdon.config.load import load
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.settings import (
    GrmJudge,
    JudgeBase,
    PairwiseJudge,
    PrincipleJudge,
    RubricJudge,
    ToolJudge,
    VerifierJudge,
)
from guerdon.scorers.on_vllm import OnVllm
from guerdon.transport.answers import InputAnswer, JudgeReport

PAGE = (Path(__file__).parents[1] / "docs/judges.md").read_text()
RECIPES = {
    "grm": GrmJudge,
    "principle": PrincipleJudge,
    "pairwise": PairwiseJudge,
    "verifier": VerifierJudge,
    "rubric": RubricJudge,
    "tool": ToolJudge,
}
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def section(title):
    """What stands under a heading, up to the next one of its rank or above."""
    rank, rest = re.split(rf"^(##+) {re.escape(title)}\n", PAGE, maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{2,{len(rank)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """The cells of tables, row by row, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def named(text):
    """What the first cells of tables name in code."""
    return {name for first, *_ in rows(text) for name in re.findall(r"`(\w+)`", first)}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_configuration_is_valid(block, tmp_path):
    """As it stands, read from a file."""
    file = tmp_path / "guerdon.yaml"
    file.write_text(block)
    assert load(file, {})[0].scorers


def test_every_setting_is_told():
    """Of the server, of all recipes, and each recipe's own; no other is."""
    common, server = re.split(r"^The server's:$", section("Settings"), flags=re.MULTILINE)
    assert named(common) == (set(JudgeBase.model_fields) | set(Judging.model_fields)) - set(OnVllm.model_fields) - {
        "kind"
    }
    assert named(server) == set(OnVllm.model_fields)
    for recipe, settings in RECIPES.items():
        own = set(settings.model_fields) - set(JudgeBase.model_fields) - {"recipe"}
        assert named(section(recipe)) == own, recipe


def test_defaults_are_those_of_the_code():
    """Where the table gives a number or a word."""
    page = {
        name: default
        for first, default, *_ in (row for row in rows(section("Settings")) if len(row) == 3)
        for name, default in zip(re.findall(r"`(\w+)`", first), default.split(", "), strict=False)
    }
    for name, default in page.items():
        known = JudgeBase.model_fields[name].default
        if isinstance(known, int | float | str):
            assert default.strip("`") == (
                str(known).lower() if isinstance(known, bool) else f"{known}".removesuffix(".0")
            )


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_blank_of_a_prompt_is_told(recipe):
    """The names behind "Prompt:" are those that the shipped prompt fills in; a rubric's may be more."""
    told = re.search(r"Prompt:(.*?)(?:\n\n|\Z)", section(recipe), re.DOTALL)[1]
    listed = set(re.findall(r"`(\w+)`", told))
    source = Prompt.shipped(f"{recipe}.v1").source
    turns = re.split(r"^=== \w+ ===$", source, flags=re.MULTILINE)[1:]
    used = set().union(
        *(jinja2.meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(t)) for t in turns)
    )
    assert used <= listed
    assert all(re.search(rf"\b{name}\b", source) for name in listed)


def test_the_answer_that_is_shown_has_the_shape_of_answers():
    """It is read as one; and the table names all that a report has."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    answer = InputAnswer.model_validate(json.loads(shown))
    (report,) = answer.judges["judge"]
    assert report.mean == answer.rewards
    assert named(section("Requests and answers")) == set(JudgeReport.model_fields)


def test_the_command_that_prints_a_prompt_does():
    """What stands behind `python -c`."""
    (code,) = re.findall(r'python -c "(.*?)" >', PAGE)
    printed = []
    exec(code, {"print": printed.append})
    assert printed == [Prompt.shipped("grm.v1").source]
