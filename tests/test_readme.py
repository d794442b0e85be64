"""The README, done as written."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from guerdon.config.load import parse
from guerdon_client import Client, GuerdonError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_curl_gives_the_answer_that_is_shown(demonstration):
    """The command, run by a shell; only the id differs, and the last digits of the numbers may."""
    command, shown = re.search(r"\$ (curl .*?\]\}\]\}')\n(\{.*?\}\})\n```", README, re.DOTALL).groups()
    ran = subprocess.check_output(
        ["bash", "-c", command.replace("http://127.0.0.1:8000", demonstration.url)], text=True
    )
    answered, promised = json.loads(ran), json.loads(shown.replace("\n", ""))
    for answer in (answered, promised):
        del answer["id"]
        answer["usage"].pop("cached")
        answer["usage"].pop("tokens_computed")
    for key in ("rewards", "std"):
        assert answered["data"][0].pop(key) == pytest.approx(promised["data"][0].pop(key), abs=1e-4)
    assert answered == promised


def test_the_python_snippet_runs(demonstration):
    """As it stands, against the running service."""
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(snippet.replace("http://127.0.0.1:8000", demonstration.url), names)
    assert names["rewards"][0] > names["rewards"][1]
    assert names["best"].index == 0


def test_the_configuration_that_is_shown_is_valid():
    """Every key of it is one that the service knows."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert set(parse(yaml.safe_load(shown), "README").scorers) == {"skywork", "mine"}


def test_the_error_that_is_shown_is_the_error_that_comes(demonstration):
    """Word for word."""
    (shown,) = re.findall(r'```json\n(\{"error".*?)\n```', README, re.DOTALL)
    body = {"inputs": [{"prompt": "x", "respones": ["y"], "responses": ["y"]}]}
    assert demonstration.post("/v1/score", body).json() == json.loads(shown)


PAGES = [ROOT / name for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """Links between the project's pages."""
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_client_raises_what_the_service_says(demonstration):
    """A typed error with code, status and field; and an address where nobody answers."""
    with Client(demonstration.url) as guerdon, pytest.raises(GuerdonError, match="known: default") as refused:
        guerdon.score("p", ["r"], model="nobody")
    assert (refused.value.code, refused.value.status, refused.value.field) == ("unknown_model", 404, "model")
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(GuerdonError, match="unreachable"):
        nobody.models()


def test_the_client_takes_messages_and_lists_models(demonstration):
    """A conversation instead of a prompt; names of what can be called."""
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "?"},
    ]
    with Client(demonstration.url) as guerdon:
        assert len(guerdon.score(turns, ["a", "b"])) == 2
        assert len(guerdon.rerank(turns, ["a", "b"], top_n=1)) == 1
        assert guerdon.models()[0]["id"] == "default"
        compared = guerdon.compare(turns, ["a", "b", "c"], pairs=[(2, 0)])
        assert (len(compared.probability), len(compared.win_rate)) == (1, 3)
