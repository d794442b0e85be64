"""The image, the compose file, and what watches the service: checked with the tools that read them."""

import json
import re
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from guerdon.cli.server import DRAIN_S
from guerdon_client.stubs.guerdon.v1 import reward_service_pb2
from guerdon_client.stubs.tei.v1 import tei_pb2
from monitoring import (
    DASHBOARDS,
    ROOT,
    SCRAPES_PER_RATE,
    Prometheus,
    config_for,
    expressions,
    interpolated,
    metric_names,
    panels,
    prometheus,
)
from redis_servers import redis_server
from running import Running, serving
from scripted_server import Answer, Asked, scripted

RULES = ROOT / "deploy/prometheus"
SCRAPE_S = 1
ENOUGH_SCRAPES = 7
GRPC_CALLS = {
    f"/{service.full_name}/{method.name}"
    for file in (reward_service_pb2.DESCRIPTOR, tei_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
NOT_FOR_REWARDS = {"/guerdon.v1.RewardService/ListModels", "/tei.v1.Info/Info", "/seed_session"}
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)


class Watched(NamedTuple):
    """A service that was called, the Prometheus that scraped it, and for how long it did."""

    service: Running
    prometheus: Prometheus
    seconds: float


@pytest.fixture(scope="module")
def tools():
    """The folder with `prometheus` and `promtool`."""
    script = ROOT / "tests/tools/debian.sh"
    return Path(_output([str(script), "prometheus", "prometheus", "promtool"]).strip().splitlines()[-1])


@pytest.fixture(scope="module")
def watched(tools, checkpoint, tmp_path_factory):
    """A service under a little of all its traffic, scraped often enough for every rate."""
    folder = tmp_path_factory.mktemp("watched")
    scorer = {"kind": "reward_model", "template": "pair", "placement": "inline", "device": "cpu", "threads": 1}
    scorer["calibration"] = {"mean": 0.0, "std": 1.0}
    models = {name: scorer | {"model": str(checkpoint("bert", seed=seed))} for seed, name in enumerate(["one", "two"])}
    config = {"scorers": models, "ensembles": {"default": {"members": list(models)}}}
    with (
        redis_server(folder / "redis", "--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru") as redis,
        scripted(_judge) as judge,
        serving(_with(config, redis=redis.url, judge=judge.url), folder) as service,
        prometheus(tools / "prometheus", _scrape_of(service), folder) as scraper,
    ):
        started = time.monotonic()
        _call_until_scraped(service, scraper)
        yield Watched(service, scraper, time.monotonic() - started + 1)


def test_the_image_passes_hadolint():
    """No rule is broken, none is switched off."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    assert _output([str(hadolint), "--failure-threshold", "style", "Dockerfile"]) == ""
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text()


def test_the_image_is_built_from_files_that_reach_the_builder():
    """What the Dockerfile copies exists, and the ignore file lets it through."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    sources = {source for line in copied for source in line.split()}
    assert {source.replace("[s]", "s") for source in sources} == let_through
    for source in sources - {".cache/wheel[s]"}:  # a pattern, because it need not be there
        assert (ROOT / source).exists(), source


def test_the_image_and_the_package_have_one_version():
    """The label, the compose file's tag and the package name the same version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
    assert _compose()["services"]["guerdon"]["image"] == f"guerdon:{version}"


def test_the_compose_file_keeps_the_compose_spec():
    """The schema of the specification accepts it."""
    _output([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"])


@pytest.mark.parametrize("name", ["guerdon", "redis", "prometheus", "grafana"])
def test_every_container_is_locked_down(name):
    """No privileges, a root that cannot be written, a pinned image, and ports on loopback only."""
    service = _compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_provisioned_is_there_and_mounted_read_only(name):
    """Nothing is mounted that a clone does not have."""
    mounts = [volume for volume in _compose()["services"][name]["volumes"] if volume.startswith("./")]
    assert mounts
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (ROOT / source).is_dir()
        assert mode == "ro"


def test_the_container_outlives_the_drain():
    """What the service was asked before SIGTERM is answered before SIGKILL."""
    assert int(_compose()["services"]["guerdon"]["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_grafana_knows_how_often_prometheus_scrapes():
    """`$__rate_interval` is right only if both files say the same."""
    scraped = yaml.safe_load((RULES / "prometheus.yml").read_text())["global"]["scrape_interval"]
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert [source["jsonData"]["timeInterval"] for source in provisioned["datasources"]] == [scraped]


def test_grafana_looks_for_dashboards_where_they_are_mounted():
    """The provider's folder is the mounted one."""
    provided = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/guerdon.yaml").read_text())
    folder = provided["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in _compose()["services"]["grafana"]["volumes"]


def test_prometheus_accepts_its_configuration_and_rules(tools):
    """promtool finds nothing wrong, by its lint either."""
    _output([str(tools / "promtool"), "check", "config", "--lint=all", "--lint-fatal", str(RULES / "prometheus.yml")])


def test_rules_do_what_their_tests_say(tools):
    """Every alert fires when it should, and a healthy service raises none."""
    _output([str(tools / "promtool"), "test", "rules", str(RULES / "rules_test.yml")])


def test_every_alert_is_tested_and_says_what_is_wrong():
    """A name in CamelCase, a severity, a summary, and a test that sees it fire."""
    tested = [case for test in _yaml("rules_test.yml")["tests"] for case in test.get("alert_rule_test", [])]
    fired = {case["alertname"] for case in tested if case["exp_alerts"]}
    for alert in (rule for rule in _rules() if "alert" in rule):
        assert re.fullmatch(r"([A-Z][a-z0-9]+)+", alert["alert"])
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"]
        assert alert["alert"] in fired


@every_dashboard
def test_dashboards_can_be_provisioned(dashboard):
    """A fixed uid and no id, so that each start finds the same dashboard; the data source is a choice."""
    written = json.loads(dashboard.read_text())
    assert written["uid"] == dashboard.stem
    assert written["id"] is None
    assert "datasource" in {variable["name"] for variable in written["templating"]["list"]}
    targets = [target for panel in panels(dashboard) for target in panel["targets"]]
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}


@every_dashboard
def test_every_panel_explains_itself(dashboard):
    """A title, a description, a unit; and each range is as long as the scrapes need."""
    shown = panels(dashboard)
    assert len({panel["id"] for panel in shown}) == len(shown)
    for panel in shown:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    for title, expression in expressions(dashboard):
        without_labels = re.sub(r'"[^"]*"', "", expression)  # whose patterns may have brackets, too
        ranges = re.findall(r"\[[^\]]*\]", without_labels)
        assert set(ranges) <= {"[$__rate_interval]"}, title


def test_metrics_pass_promtools_lint(tools, watched):
    """Names, units and help texts are as Prometheus wants them."""
    exposition = watched.service.get("/metrics").text
    assert _output([str(tools / "promtool"), "check", "metrics"], given=exposition) == ""


def test_every_metric_that_is_read_exists(watched):
    """No panel and no rule reads a series that the service does not have."""
    exposed = set(re.findall(r"^(?:# TYPE )?(\w+)", watched.service.get("/metrics").text, re.M))
    shown = [expression for dashboard in DASHBOARDS for _, expression in expressions(dashboard)]
    read = {name for expression in [*shown, *(rule["expr"] for rule in _rules())] for name in metric_names(expression)}
    assert read
    assert read - exposed == set()


def test_every_call_for_rewards_counts(watched):
    """The endpoints that rules and panels single out are all that answer with rewards, and no others."""
    paths = watched.service.get("/openapi.json").json()["paths"]
    calls = ({path for path, methods in paths.items() if "post" in methods} | GRPC_CALLS) - NOT_FOR_REWARDS
    written = (RULES / "rules.yml").read_text() + "".join(
        expression for path in DASHBOARDS for _, expression in expressions(path)
    )
    (selector,) = set(re.findall(r'endpoint!~"([^"]+)"', written))
    assert 'endpoint=~"/' not in written
    served = (*paths, *GRPC_CALLS, "/docs", "/docs/assets", "/openapi.json", "other")
    assert {path for path in served if not re.fullmatch(selector, path)} == calls


@every_dashboard
def test_every_expression_shows_something(dashboard, watched):
    """Over a service in healthy operation no panel is empty, whichever values of the variables are chosen."""
    variables = {"__rate_interval": f"{SCRAPES_PER_RATE * SCRAPE_S}s", "datasource": "prometheus"}
    chosen = dict(variables)
    for variable in json.loads(dashboard.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            query = interpolated(variable["query"]["query"], chosen)
            offered = watched.prometheus.label_values(query)
            assert offered, query
            chosen[variable["name"]] = offered[0]
            variables[variable["name"]] = variable.get("allValue", offered[0])
    for choice in (variables, chosen):
        asked = [(title, interpolated(expression, choice)) for title, expression in expressions(dashboard)]
        empty = [each for each in asked if not watched.prometheus.finite_values(each[1], seconds=watched.seconds)]
        assert empty == []


def test_every_rule_is_evaluated_and_no_alert_is_raised(watched):
    """Recording rules give series, and a healthy service is not reported."""
    for rule in _rules():
        if "record" in rule:
            assert watched.prometheus.now(rule["record"]), rule["record"]
    evaluated = [rule for group in watched.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(_rules())
    assert {(rule["name"], rule["health"]) for rule in evaluated if rule["health"] != "ok"} == set()
    assert watched.prometheus.now("ALERTS") == []


def _call_until_scraped(service, scraper):
    """Traffic between all scrapes, and one scrape after the last of it."""
    until = time.monotonic() + 60
    for turn in range(10_000):
        if scraper.scrapes() >= ENOUGH_SCRAPES:
            break
        assert time.monotonic() < until, "Prometheus does not scrape the service"
        _call(service, turn)
        time.sleep(0.1)
    seen = scraper.scrapes()
    while scraper.scrapes() == seen:
        assert time.monotonic() < until, "Prometheus no longer scrapes the service"
        time.sleep(0.1)


def _judge(_, request: Asked):
    """A server of a generative model that likes everything."""
    if request.path == "/v1/models":
        return Answer(body={"data": [{"id": "kind"}]})
    message = {"content": json.dumps({"analysis": "It helps.", "score": 5})}
    usage = {"prompt_tokens": 80, "completion_tokens": 20, "total_tokens": 100}
    return Answer(body={"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


def _with(config, *, redis, judge):
    """The configuration with what only runs by now."""
    asked = {"kind": "judge", "recipe": "rubric", "model": "kind", "url": judge}
    return config | {"cache": {"redis": {"url": redis}}, "scorers": config["scorers"] | {"judge": asked}}


def _call(service, turn):
    """New samples, the same again for the cache, a ranking, each model by name, and a mistake."""
    responses = ["Eight minutes.", "Put it in boiling water, and wait."]
    sample = {"prompt": f"How do I boil egg {turn}?", "responses": responses}
    for model in ("default", "default", "one", "two", "judge"):
        assert service.post("/v1/score", {"model": model, "inputs": [sample]}).status_code == 200
    asked = {"query": f"How do I fry egg {turn}?", "documents": responses}
    assert service.post("/v1/rerank", asked).status_code == 200
    assert service.post("/v1/score", {"inputs": [sample], "speed": "fast"}).status_code == 422


def _scrape_of(service):
    return config_for(service.url.removeprefix("http://"), scrape_s=SCRAPE_S)


def _compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _rules():
    return [rule for group in _yaml("rules.yml")["groups"] for rule in group["rules"]]


def _yaml(name):
    return yaml.safe_load((RULES / name).read_text())


def _output(command, given=None):
    """What the command prints; that it fails is a failure with all of it."""
    ended = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
