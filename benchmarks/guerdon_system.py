"""Guerdon as it is compared with others: from this checkout, its configuration generated."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from benchmarks.reference import classifier_scores, last_states
from benchmarks.servers import Launch
from benchmarks.systems import QUIET, Place, System, counter, native_request
from benchmarks.texts import Group

Config = dict[str, Any]
HEADS = ("a", "b", "c", "d", "e")
HEAD_HIDDEN = 256
LARGE_LIMITS = {
    "max_body": "1GB",
    "max_inputs": 10_000,
    "max_responses": 10_000,
    "max_total_responses": 1_000_000,
    "queue_tokens": 100_000_000,
    "timeout_s": 1200.0,
}
PATIENCE = {"hung_after_s": 3600.0, "batch_timeout_s": 3600.0}
"""A worker that the benchmark has put to sleep must not look hung."""


def one_model(place: Place) -> Config:
    """One classifier, called ``rm``."""
    return {"scorers": {"rm": _classifier(place, place.model)}}


def compiled_model(place: Place) -> Config:
    """The same, its layers compiled by torch, as vLLM has them compiled by default."""
    scorer = _classifier(place, place.model) | {"compile": True}
    return {"scorers": {"rm": scorer}}


def five_models(place: Place) -> Config:
    """The ensemble ``rm`` of five classifiers of one shape."""
    scorers = {name: _classifier(place, name) for name in _members(place)}
    return {"scorers": scorers, "ensembles": {"rm": _mean_of(list(scorers))}}


def one_head(place: Place) -> Config:
    """One head over a backbone."""
    return _heads(place, HEADS[:1])


def five_heads(place: Place) -> Config:
    """The ensemble of five heads over one backbone."""
    return _heads(place, HEADS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guerdon(System):
    """``guerdon serve`` with a configuration. Scores are stored only where ``stores`` says so."""

    name: str = "guerdon"
    peer: str = "guerdon"
    configure: Callable[[Place], Config] = field(default=one_model)
    stores: bool = False

    def launch(self, place: Place) -> Launch:
        """In this environment."""
        config = self.configure(place) | {"limits": LARGE_LIMITS, "workers": PATIENCE}
        if not self.stores:
            config["cache"] = {"l1_bytes": 0}
        file = place.work / f"{self.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        guerdon = Path(sys.executable).parent / "guerdon"
        options = ["--host", "127.0.0.1", "--port", "{port}", "--config", str(file)]
        return Launch(command=[str(guerdon), "serve", *options], health="/readyz", environment=QUIET)

    def request(self, group: Group, *, encoder: bool) -> tuple[str, dict[str, Any]]:
        """The native API."""
        return native_request(group)

    def rewards(self, body: str) -> list[float]:
        """Of all inputs. An input's error is a KeyError here: nobody is timed on errors."""
        return [reward for item in json.loads(body)["data"] for reward in item["rewards"]]

    def reference(self, place: Place, groups: Sequence[Group]) -> list[float]:
        """The mean of the members'."""
        if self.configure is five_models:
            members = [classifier_scores(place.models / name, groups) for name in _members(place)]
            return [fmean(scores) for scores in zip(*members, strict=True)]
        if self.configure in (one_head, five_heads):
            states = last_states(place.folder, groups)
            heads = HEADS if self.configure is five_heads else HEADS[:1]
            weights = [_head_weights(states.shape[1], index) for index in range(len(heads))]
            return [float(score) for score in np.mean([_head_scores(states, w) for w in weights], axis=0)]
        return classifier_scores(place.folder, groups)

    def computed_tokens(self, metrics: str) -> float | None:
        """What its workers computed, padding included."""
        return counter(metrics, "guerdon_computed_tokens_total")


def _classifier(place: Place, model: str) -> Config:
    template = "pair" if model == "encoder" else "plain"
    return {"kind": "reward_model", "model": str(place.models / model), "dtype": place.dtype, "template": template}


def _members(place: Place) -> list[str]:
    """The model that is served, and its sisters."""
    return sorted(folder.name for folder in place.models.glob(place.model.rstrip("0123456789") + "*"))


def _mean_of(members: list[str]) -> Config:
    return {"members": members, "aggregation": {"method": "mean"}, "calibration": "none"}


def _heads(place: Place, names: Sequence[str]) -> Config:
    hidden = json.loads((place.folder / "config.json").read_text())["hidden_size"]
    backbone = {
        "kind": "head_ensemble",
        "backbone": str(place.folder),
        "dtype": place.dtype,
        "template": "plain",
        "heads": {name: str(_head_file(place, hidden, index)) for index, name in enumerate(names)},
    }
    return {"scorers": {"heads": backbone}, "ensembles": {"rm": _mean_of([f"heads.{name}" for name in names])}}


def _head_file(place: Place, hidden: int, seed: int) -> Path:
    from guerdon.aggregation import Calibration
    from guerdon.scorers.heads import Head, save_head

    weights = _head_weights(hidden, seed)
    biases = tuple(np.zeros(weight.shape[0], np.float32) for weight in weights)
    file = place.work / f"head{seed}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    as_it_is = Calibration(mean=0.0, std=1.0)
    features = ("conversation@-1",)
    save_head(file, Head(weights=weights, biases=biases, features=features, pooling="last", calibration=as_it_is))
    return file


def _head_weights(hidden: int, seed: int) -> tuple[np.ndarray, ...]:
    chance = np.random.default_rng(seed)
    inner = chance.normal(0, hidden**-0.5, (HEAD_HIDDEN, hidden)).astype(np.float32)
    return inner, chance.normal(0, HEAD_HIDDEN**-0.5, (1, HEAD_HIDDEN)).astype(np.float32)


def _head_scores(states: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
    inner, outer = weights
    scores: np.ndarray = (np.maximum(states @ inner.T, 0) @ outer.T)[:, 0]
    return scores
