"""A real Prometheus that watches one service, and dashboards read as Grafana reads them."""

import contextlib
import json
import math
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
SCRAPES_PER_RATE = 4
"""Grafana's `$__rate_interval` covers so many scrapes, where the graph's own steps are shorter."""


@dataclass
class Prometheus:
    """Where it answers, and its process."""

    url: str
    process: subprocess.Popen

    def ask(self, path, **parameters):
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.is_success, f"{answer.text}: {parameters}"
        return answer.json()["data"]

    def now(self, expression):
        """The series that the expression has now, with one value each."""
        return [
            (series["metric"], float(series["value"][1])) for series in self.ask("query", query=expression)["result"]
        ]

    def finite_values(self, expression, *, seconds):
        """Every finite value of the last seconds, a point each second, as a graph would show them."""
        end = time.time()
        found = self.ask("query_range", query=expression, start=end - seconds, end=end, step=1)["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if math.isfinite(value)]

    def label_values(self, query):
        """What a template variable of the form `label_values(series, label)` offers."""
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        return self.ask(f"label/{label}/values", **{"match[]": series})

    def scrapes(self):
        """How often the service was scraped."""
        return sum(value for _, value in self.now('sum_over_time(up{job="guerdon"}[5m])'))


@contextlib.contextmanager
def prometheus(binary: Path, config: dict, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus on a free loopback port; yields when it is ready. Stopped by its own handle."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        str(binary),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    running = Prometheus(f"http://{address}", process)
    try:
        _await_ready(running, folder / "log")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def config_for(target: str, *, scrape_s: int) -> dict:
    """The shipped configuration with its jobs and rules, pointed at one running service and in more of a hurry."""
    source = ROOT / "deploy/prometheus/prometheus.yml"
    config = yaml.safe_load(source.read_text())
    config["global"] |= {"scrape_interval": f"{scrape_s}s", "scrape_timeout": f"{scrape_s}s"}
    config["global"]["evaluation_interval"] = f"{scrape_s}s"
    config["rule_files"] = [str(source.parent / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [target]}]
    return config


def panels(dashboard: Path) -> list[dict]:
    """All panels but the row headers."""
    return [panel for panel in json.loads(dashboard.read_text())["panels"] if panel["type"] != "row"]


def expressions(dashboard: Path) -> list[tuple[str, str]]:
    """Every expression with its panel's title."""
    return [(panel["title"], target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]


def interpolated(expression: str, variables: dict[str, str]) -> str:
    """The expression as Grafana sends it. A variable that the dashboard does not have is a KeyError."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match.group(1)], expression)


def metric_names(expression: str) -> set[str]:
    """The service's own series that an expression reads; recorded ones have a colon and are not meant."""
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*", expression) if name.startswith("guerdon_")}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _await_ready(running: Prometheus, log: Path, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/-/ready").is_success:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
