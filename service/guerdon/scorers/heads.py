"""Small heads that read a reward from a shared backbone's pooled hidden states."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from guerdon.aggregation import Calibration

Floats = NDArray[np.float32]
Layers = Mapping[int, Floats]
"""Pooled hidden states of one text: layer index to vector [hidden]."""

FORMAT = "guerdon-head/1"
PAIR_FEATURES = ("prompt", "response", "product", "distance", "response_raw")
"""Features of a prompt and a response that were encoded apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A multi-layer perceptron with ReLU between its layers: features [n, d] to scores [n].

    ``weights[i]`` is [out, in] and ``biases[i]`` is [out], as torch stores a linear layer; the last
    layer has one output. ``features`` name what the input is made of, in order (see `pair_features`).
    ``pooling`` says how the backbone's states become one vector a text.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    features: tuple[str, ...]
    pooling: Literal["mean", "last"] = "mean"
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.biases):
            raise ValueError("a head needs as many biases as weights, and at least one of each")
        if self.weights[-1].shape[0] != 1:
            raise ValueError(f"a head's last layer must have one output, not {self.weights[-1].shape[0]}")
        for before, after in zip(self.weights, self.weights[1:], strict=False):
            if before.shape[0] != after.shape[1]:
                raise ValueError(f"a layer of {before.shape[0]} outputs is followed by one of {after.shape[1]} inputs")
        reads_pairs(self.features)

    def __call__(self, features: Floats) -> Floats:
        """Raw scores, one a row; higher is better."""
        hidden = features
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.maximum(hidden @ weight.T + bias, np.float32(0))
        scores: Floats = (hidden @ self.weights[-1].T + self.biases[-1])[:, 0]
        return scores


def parse_feature(name: str) -> tuple[str, int]:
    """``"product@6"`` is ("product", 6). Raises ValueError for a name that no head can have."""
    kind, separator, layer = name.partition("@")
    if not separator or kind not in (*PAIR_FEATURES, "conversation") or not layer.lstrip("-").isdigit():
        raise ValueError(f"unknown feature {name!r}; known: {', '.join(PAIR_FEATURES)}, conversation, each with @layer")
    return kind, int(layer)


def reads_pairs(features: Sequence[str]) -> bool:
    """Whether prompt and response are encoded apart (else the templated conversation is one text)."""
    kinds = {parse_feature(name)[0] == "conversation" for name in features}
    if len(kinds) != 1:
        raise ValueError("a head reads either `conversation` features or features of a pair, not both")
    return not kinds.pop()


def agreed(heads: Iterable[Head]) -> tuple[bool, str, tuple[int, ...]]:
    """What heads of one ensemble must have in common: reading pairs or not, and the pooling; and all their layers.

    Raises ValueError where they do not agree.
    """
    heads = list(heads)
    poolings = {head.pooling for head in heads}
    if len(poolings) != 1:
        raise ValueError("heads of one ensemble must pool their backbone in the same way")
    names = [name for head in heads for name in head.features]
    return reads_pairs(names), poolings.pop(), tuple(sorted({parse_feature(name)[1] for name in names}))


def fits(head: Head, *, hidden: int, depth: int) -> None:
    """Raises ValueError unless a backbone of this hidden size and number of layers feeds the head."""
    wide, given = head.weights[0].shape[1], hidden * len(head.features)
    if wide != given:
        raise ValueError(f"the head reads {wide} numbers, but the backbone gives {len(head.features)} times {hidden}")
    beyond = [name for name in head.features if not -depth - 1 <= parse_feature(name)[1] <= depth]
    if beyond:
        raise ValueError(f"the head reads {beyond[0]}, but the backbone has {depth} layers")


def pair_features(names: Sequence[str], prompt: Layers, response: Layers) -> Floats:
    """The input vector [d] of a head for one prompt and one response, float32.

    ``prompt@L`` and ``response@L`` are the pooled layer L scaled to length 1 (p and r);
    ``product@L`` is p * r, ``distance@L`` is |p - r|, ``response_raw@L`` is not scaled.
    """
    return np.concatenate([_pair_feature(*parse_feature(name), prompt, response) for name in names])


def conversation_features(names: Sequence[str], conversation: Layers) -> Floats:
    """The input vector [d] of a head for a templated conversation: its pooled layers as they are."""
    return np.concatenate([conversation[parse_feature(name)[1]] for name in names])


def _pair_feature(kind: str, layer: int, prompt: Layers, response: Layers) -> Floats:
    match kind:
        case "prompt":
            return unit(prompt[layer])
        case "response":
            return unit(response[layer])
        case "product":
            return unit(prompt[layer]) * unit(response[layer])
        case "distance":
            distance: Floats = np.abs(unit(prompt[layer]) - unit(response[layer]))
            return distance
        case "response_raw":
            return response[layer].astype(np.float32)
    raise ValueError(f"{kind} is not a feature of a pair")


def unit(vector: Floats) -> Floats:
    """The vector scaled to length 1, in float32."""
    vector = vector.astype(np.float32)
    scaled: Floats = vector / np.maximum(np.linalg.norm(vector), np.float32(1e-12))
    return scaled


def load_head(path: Path) -> Head:
    """Read a head file. Raises ValueError that names the file when it is not one."""
    try:
        with safe_open(path, framework="numpy") as file:
            described = json.loads((file.metadata() or {}).get("guerdon", "{}"))
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path.name}: not a readable safetensors file") from error
    if described.get("format") != FORMAT:
        raise ValueError(f"{path.name}: not a head file ({FORMAT}); save heads with guerdon.scorers.heads.save_head")
    depth = len(tensors) // 2
    calibration = described["calibration"]
    return Head(
        weights=tuple(tensors[f"{i}.weight"] for i in range(depth)),
        biases=tuple(tensors[f"{i}.bias"] for i in range(depth)),
        features=tuple(described["features"]),
        pooling=described["pooling"],
        calibration=Calibration(mean=calibration["mean"], std=calibration["std"]) if calibration else None,
    )


def save_head(path: Path, head: Head, *, about: Mapping[str, object] | None = None) -> None:
    """Write a head file; ``about`` is kept beside it (data, seed, held-out accuracy, backbone hash)."""
    calibration = head.calibration
    described = {
        "format": FORMAT,
        "features": list(head.features),
        "pooling": head.pooling,
        "calibration": {"mean": calibration.mean, "std": calibration.std} if calibration else None,
        "about": dict(about or {}),
    }
    tensors = {f"{i}.weight": np.ascontiguousarray(w) for i, w in enumerate(head.weights)}
    tensors |= {f"{i}.bias": np.ascontiguousarray(b) for i, b in enumerate(head.biases)}
    save_file(tensors, path, metadata={"guerdon": json.dumps(described, sort_keys=True)})
    path.chmod(0o644)  # the library writes files that only their owner can read
