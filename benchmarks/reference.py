"""What transformers itself answers, each response by itself in float32: nobody may be fast by being wrong."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from benchmarks.texts import Group, singles


def classifier_scores(folder: Path, groups: Sequence[Group]) -> list[float]:
    """The raw logit of every response, group after group."""
    model, tokenizer = _loaded(folder)
    with torch.inference_mode():
        return [float(model(**_inputs(tokenizer, model, one)).logits[0, 0]) for one in singles(groups)]


def last_states(folder: Path, groups: Sequence[Group]) -> np.ndarray:
    """The last token's final hidden state of every response, [responses, hidden]."""
    model, tokenizer = _loaded(folder)
    with torch.inference_mode():
        states = [
            model.base_model(**_inputs(tokenizer, model, one)).last_hidden_state[0, -1] for one in singles(groups)
        ]
    return torch.stack(states).numpy()


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def _inputs(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, one: Group) -> dict[str, torch.Tensor]:
    encoder = model.config.model_type == "bert"
    texts = (one.prompt, one.responses[0]) if encoder else (one.texts[0],)
    return dict(tokenizer(*texts, return_tensors="pt"))
