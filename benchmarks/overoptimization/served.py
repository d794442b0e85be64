"""The members as a running service, asked over HTTP for whole prompts' worth of responses."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.overoptimization.members import READ
from benchmarks.overoptimization.policy import Floats, Tokens, prompt_text, response_text
from benchmarks.servers import Launch, Server
from benchmarks.systems import QUIET
from guerdon_client import Client

ENSEMBLE = "proxies"
CHUNK = 1000
"""Responses of one request."""
IN_FLIGHT = 3
"""Requests at a time: one is being computed while the next is being read."""
TIMEOUT_S = 600.0


class Served:
    """A running service whose ensemble is the members."""

    def __init__(self, client: Client, names: Sequence[str]) -> None:
        self._client, self._names = client, names

    def scores(self, topic: Floats, levels: tuple[float, ...], responses: Tokens) -> Floats:
        """The members' raw scores [responses, members] of the responses to a topic."""
        prompt = prompt_text(topic, levels)
        texts = [response_text(response) for response in responses]
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            chunks = [texts[at : at + CHUNK] for at in range(0, len(texts), CHUNK)]
            return np.concatenate(list(pool.map(lambda chunk: self._scores(prompt, chunk), chunks)))

    def _scores(self, prompt: str, responses: Sequence[str]) -> Floats:
        asked = [{"prompt": prompt, "responses": responses}]
        answer = self._client.score_inputs(asked, model=ENSEMBLE, detail="members")
        raw = answer["data"][0]["members_raw"]
        return np.array([raw[name] for name in self._names]).T


@contextmanager
def serving(folders: Sequence[Path], work: Path) -> Iterator[Served]:
    """Serve the members that lie in the folders, nothing stored, until the block ends."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "guerdon.yaml"
    file.write_text(yaml.safe_dump(_config(folders), sort_keys=False))
    command = [sys.executable, "-m", "guerdon.cli.main", "serve", "--host", "127.0.0.1", "--port", "{port}"]
    launch = Launch(command=[*command, "--config", str(file)], health="/readyz", environment=QUIET)
    server = Server("guerdon", launch, work / "guerdon.log")
    try:
        server.wait()
        with Client(server.url, timeout_s=TIMEOUT_S) as client:
            yield Served(client, [folder.name for folder in folders])
    finally:
        server.stop()


def _config(folders: Sequence[Path]) -> dict[str, Any]:
    scorer = {"kind": "reward_model", "device": "cpu", "threads": 1, "prefix_cache": 0, **READ}
    aggregation = {"method": "mean"}
    return {
        "scorers": {folder.name: {**scorer, "model": str(folder)} for folder in folders},
        "ensembles": {
            ENSEMBLE: {"members": [f.name for f in folders], "aggregation": aggregation, "calibration": "none"}
        },
        "cache": {"l1_bytes": 0},
        "limits": {"timeout_s": TIMEOUT_S, "queue_tokens": 20_000_000},
    }
