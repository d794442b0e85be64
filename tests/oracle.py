"""What a checkpoint must give, by transformers alone: float32, one sample, no padding."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_layers import GenericForSequenceClassification

Messages = Sequence[Mapping[str, str]]
Pair = tuple[str, str]


def reference_reward(
    folder: Path,
    token_ids: Sequence[int],
    type_ids: Sequence[int] | None = None,
    adapter: Path | None = None,
) -> list[float]:
    """One number per label. Decoders: the head on the last position, whatever its token."""
    model = _classifier(folder, adapter)
    inputs = {"input_ids": torch.tensor([list(token_ids)])}
    if type_ids is not None:
        inputs["token_type_ids"] = torch.tensor([list(type_ids)])
    with torch.no_grad():
        if isinstance(model, GenericForSequenceClassification):
            hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
            return model.score(hidden[0, -1]).tolist()
        return model(**inputs).logits[0].tolist()


def reference_embedding(folder: Path, token_ids: Sequence[int], layer: int) -> np.ndarray:
    """The mean over all tokens of `hidden_states[layer]`; layer 0 is the embedding's output."""
    with torch.no_grad():
        outputs = _encoder(folder)(torch.tensor([list(token_ids)]), output_hidden_states=True)
    return outputs.hidden_states[layer][0].mean(dim=0).numpy()


def reference_ids(folder: Path, messages_or_pair: Messages | Pair) -> list[int]:
    """Messages by the chat template, with one BOS at most; a pair by the tokenizer's own rule.

    For a blank response transformers encodes the prompt alone: a pair with "" is no pair to it.
    """
    tokenizer = _tokenizer(folder)
    if _is_pair(messages_or_pair):
        return tokenizer(*messages_or_pair)["input_ids"]
    messages = [dict(message) for message in messages_or_pair]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=False, return_dict=True)["input_ids"]
    doubled = [tokenizer.bos_token_id] * 2
    while tokenizer.bos_token_id is not None and ids[:2] == doubled:
        ids = ids[1:]
    return ids


def reference_type_ids(folder: Path, pair: Pair) -> list[int] | None:
    """The token types of a pair, where the tokenizer says that the model wants them."""
    return _tokenizer(folder)(*pair).get("token_type_ids")


def _is_pair(messages_or_pair: Messages | Pair) -> bool:
    return isinstance(messages_or_pair[0], str)


# Attention must be eager: transformers' sdpa path drops Gemma 2's soft-capping without a word.


@lru_cache(maxsize=64)
def _classifier(folder: Path, adapter: Path | None) -> PreTrainedModel:
    """The classifier in float32; with an adapter, PEFT's layers are in place inside it."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).get_base_model()
    return model.eval()


@lru_cache(maxsize=64)
def _encoder(folder: Path) -> PreTrainedModel:
    return AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@lru_cache(maxsize=64)
def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)
