"""A reward model with a simple wish: tokens with the letter e. Its weights are set by hand."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from checkpoint_tokenizers import FAMILIES, tokenizer_of

HIDDEN = 32
WANTED, OTHER, SHARE = range(3)
"""Channels of the hidden state."""


def wanted_ids(tokenizer):
    return [i for i in range(len(tokenizer)) if "e" in tokenizer.decode([i]) and i not in tokenizer.all_special_ids]


def build_easy_reward_model(folder: Path) -> Path:
    """The reward grows with the share of wanted tokens, and depends on nothing else.

    Attention without queries and keys looks at all tokens alike, so its output is the share of those that carry the
    wanted channel; the last position writes it where the score head reads.
    """
    tokenizer = tokenizer_of("llama")
    model = LlamaForSequenceClassification(_config(tokenizer, num_labels=1))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        embedding = model.model.embed_tokens.weight
        embedding[:, OTHER] = HIDDEN**0.5
        for index in wanted_ids(tokenizer):
            embedding[index, OTHER], embedding[index, WANTED] = 0, HIDDEN**0.5
        attention = model.model.layers[0].self_attn
        attention.v_proj.weight[0, WANTED] = 1
        attention.o_proj.weight[SHARE, 0] = 1
        model.score.weight[0, SHARE] = HIDDEN**-0.5
    return _saved(model, tokenizer, folder)


def build_policy(folder: Path, *, seed: int) -> Path:
    """A tiny language model that says anything."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of("llama")
    return _saved(LlamaForCausalLM(_config(tokenizer)), tokenizer, folder)


def _config(tokenizer, **more):
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=256, tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip


def _saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=FAMILIES["llama"].template_in_own_file)
    return folder
