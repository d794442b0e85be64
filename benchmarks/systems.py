"""The peers that are compared: how each is started, asked, and read."""

import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reference import classifier_scores
from benchmarks.servers import Launch
from benchmarks.texts import Group

HERE = Path(__file__).parent
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stage's things are: the models, the model that is served, its dtype, environments, a folder to write."""

    models: Path
    model: str
    dtype: str
    environments: Path
    work: Path

    @property
    def folder(self) -> Path:
        """The checkpoint that is served."""
        return self.models / self.model

    def python(self, peer: str) -> Path:
        """The Python of a peer's environment."""
        return self.environments / peer / "bin" / "python"


class System(ABC):
    """One server program with one way of running it. ``peer`` is whose program it is."""

    name: str
    peer: str

    @abstractmethod
    def launch(self, place: Place) -> Launch:
        """How to start it."""

    @abstractmethod
    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """The path and the body that ask for a group's rewards."""

    @abstractmethod
    def rewards(self, body: str) -> list[float]:
        """Raw rewards in the order of the group's responses."""

    def reference(self, place: Place, groups: Sequence[Group]) -> list[float]:
        """What transformers says, each response by itself in float32."""
        return classifier_scores(place.folder, groups)

    def computed_tokens(self, metrics: str) -> float | None:
        """Tokens computed since it was started, read from its metrics; None where it does not tell."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vllm(System):
    """vLLM's CPU build. ``caches`` is its prefix caching; None leaves it to vLLM, which has none for encoders."""

    name: str = "vllm"
    peer: str = "vllm"
    caches: bool | None = True

    def launch(self, place: Place) -> Launch:
        """As fast as it could be made: all cores, and the OpenMP library that its manual recommends."""
        python = place.python("vllm")
        command = "-m vllm.entrypoints.openai.api_server --runner pooling --host 127.0.0.1 --port {port}"
        switch = {True: ["--enable-prefix-caching"], False: ["--no-enable-prefix-caching"], None: []}[self.caches]
        return Launch(
            command=[
                str(python),
                *command.split(),
                *switch,
                *("--model", str(place.folder), "--served-model-name", "rm", "--dtype", place.dtype),
                "--disable-uvicorn-access-log",
            ],
            health="/health",
            environment={
                **QUIET,
                "VLLM_CPU_KVCACHE_SPACE": "2",
                "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "WARNING",
                "VLLM_CACHE_ROOT": str(place.environments / "vllm-cache"),
                "LD_PRELOAD": str(python.parents[1] / "lib" / "libiomp5.so"),
            },
        )

    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """Decoders by `/classify`; pairs by `/score`."""
        if encoder:
            return "/score", {"text_1": group.prompt, "text_2": list(group.responses), "use_activation": False}
        return "/classify", {"input": group.texts, "use_activation": False}

    def rewards(self, body: str) -> list[float]:
        """One label's `probs`, or `score`."""
        rows = sorted(json.loads(body)["data"], key=lambda row: row["index"])
        return [row["probs"][0] if "probs" in row else row["score"] for row in rows]

    def computed_tokens(self, metrics: str) -> float | None:
        """Prompt tokens that were not found in its cache."""
        return counter(metrics, "vllm:prompt_tokens_total") - counter(metrics, "vllm:prefix_cache_hits_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Infinity(System):
    """infinity-emb on its torch engine."""

    name: str = "infinity"
    peer: str = "infinity"
    batch: int = 16

    def launch(self, place: Place) -> Launch:
        """As its documentation starts it."""
        options = f"--engine torch --device cpu --no-bettertransformer --no-model-warmup --batch-size {self.batch}"
        return Launch(
            command=[
                str(place.python("infinity").parent / "infinity_emb"),
                *("v2", "--model-id", str(place.folder), "--served-model-name", "rm", "--dtype", place.dtype),
                *options.split(),
                *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
            ],
            health="/health",
            environment={**QUIET, "INFINITY_ANONYMOUS_USAGE_STATS": "0"},
        )

    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """Its reranker reads the prompt as query."""
        body = {"model": "rm", "query": group.prompt, "documents": list(group.responses), "raw_scores": True}
        return "/rerank", body

    def rewards(self, body: str) -> list[float]:
        """Results come sorted by score."""
        rows = sorted(json.loads(body)["results"], key=lambda row: row["index"])
        return [row["relevance_score"] for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded(System):
    """The benchmark's own padded transformers server."""

    name: str = "padded"
    peer: str = "padded"

    def launch(self, place: Place) -> Launch:
        """In this environment."""
        script = [sys.executable, str(HERE / "padded_server.py"), str(place.folder)]
        return Launch(
            command=[*script, "--port", "{port}", "--dtype", place.dtype], health="/health", environment=QUIET
        )

    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """Whole texts; for an encoder, pairs."""
        if encoder:
            prompts = [group.prompt] * len(group.responses)
            return "/get_reward", {"query": list(group.responses), "prompts": prompts}
        return "/get_reward", {"query": group.texts}

    def rewards(self, body: str) -> list[float]:
        """As they are."""
        return [float(reward) for reward in json.loads(body)["rewards"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo(System):
    """A bare FastAPI echo: what HTTP and JSON cost by themselves."""

    name: str = "echo"
    peer: str = "echo"

    def launch(self, place: Place) -> Launch:
        """In this environment."""
        return Launch(command=[sys.executable, str(HERE / "echo_server.py"), "--port", "{port}"], health="/health")

    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """The body that Guerdon gets."""
        return native_request(group)

    def rewards(self, body: str) -> list[float]:
        """It has none."""
        return []

    def reference(self, place: Place, groups: Sequence[Group]) -> list[float]:
        """Nothing to compare."""
        return []


def native_request(group: Group) -> tuple[str, dict[str, Any]]:
    """Guerdon's own API. Texts are joined as they stand, so the blank between the two is written here."""
    responses = [f" {response}" for response in group.responses]
    return "/v1/score", {"model": "rm", "inputs": [{"prompt": group.prompt, "responses": responses}]}


def counter(metrics: str, name: str) -> float:
    """The sum of a metric's series."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", metrics, flags=re.MULTILINE)
    return sum(map(float, found))
