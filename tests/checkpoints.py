"""Tiny random checkpoints, as folders that a trainer would leave behind."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertModel,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3ForCausalLM,
)

from checkpoint_tokenizers import CORPUS, FAMILIES, tokenizer_of

DECODERS = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral")
ENCODERS = ("bert", "roberta", "deberta-v2", "modernbert")
ARCHITECTURES = DECODERS + ENCODERS
SLIDING_WINDOW = 16
"""What a sliding layer of a decoder sees; ModernBERT's local layer sees half of it either side."""
MAX_POSITIONS = 512

_FAMILY_OF = {
    "llama": "llama",
    "qwen2": "qwen",
    "qwen3": "qwen",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "mistral": "mistral",
    "bert": "bert",
    "roberta": "roberta",
    "deberta-v2": "deberta",
    "modernbert": "modernbert",
}
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_POSITIONS,
}
_GROUPED_HEADS = {"num_key_value_heads": 2, "head_dim": 16}
_GEMMA = _GROUPED_HEADS | {"query_pre_attn_scalar": 16, "sliding_window": SLIDING_WINDOW}
_OWN: dict[str, dict[str, object]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": _GROUPED_HEADS,
    # Far lower than the real 50, so that attention without the cap gives another reward.
    "gemma2": _GEMMA | {"attn_logit_softcapping": 2.0},
    "gemma3": _GEMMA | {"layer_types": ["sliding_attention", "full_attention"]},
    "mistral": _GROUPED_HEADS | {"sliding_window": SLIDING_WINDOW},
    "bert": {"type_vocab_size": 2},
    # Positions start at pad_token_id + 1 = 2, as in the published checkpoints.
    "roberta": {"type_vocab_size": 1, "max_position_embeddings": MAX_POSITIONS + 2},
    # As DeBERTa-v3: relative positions only, in buckets, with shared projections.
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "modernbert": {
        "local_attention": SLIDING_WINDOW,
        "layer_types": ["full_attention", "sliding_attention"],
        "classifier_pooling": "mean",
    },
}


def build_checkpoint(
    architecture: str,
    folder: Path,
    *,
    num_labels: int = 1,
    seed: int = 0,
    pad_is_eos: bool = False,
    chat_template: bool | None = None,
    head_dim: int | None = None,
) -> Path:
    """A random classifier and its tokenizer. `chat_template` None: decoders get one."""
    if pad_is_eos and architecture not in DECODERS:
        raise ValueError(f"pad == eos is a decoder's case, {architecture} is none")
    tokenizer = tokenizer_of(_FAMILY_OF[architecture], pad_is_eos=pad_is_eos, chat_template=chat_template)
    config = _config_of(architecture, tokenizer, num_labels, **({} if head_dim is None else {"head_dim": head_dim}))
    model = AutoModelForSequenceClassification.from_config(config)
    return _save(model, tokenizer, folder, seed=seed, family=_FAMILY_OF[architecture])


def build_backbone(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A tiny BERT without any head, as sentence-embedding models are published."""
    tokenizer = tokenizer_of("bert")
    config = _config_of("bert", tokenizer, num_labels=1, num_hidden_layers=layers)
    return _save(BertModel(config), tokenizer, folder, seed=seed)


def build_adapter(base: Path, folder: Path, *, seed: int = 0) -> Path:
    """A LoRA adapter of every linear layer over `base`, with a score head of its own."""
    model = AutoModelForSequenceClassification.from_pretrained(base)
    lora = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules="all-linear")
    adapted = get_peft_model(model, lora)
    trained = {name: value for name, value in adapted.named_parameters() if value.requires_grad}
    _randomise(trained, seed)
    adapted.save_pretrained(folder)
    return folder


def build_headless_causal(folder: Path, *, seed: int = 0) -> Path:
    """A language model: it loads as a classifier only with a score head made up on the spot."""
    tokenizer = tokenizer_of("llama")
    model = LlamaForCausalLM(_config_of("llama", tokenizer, num_labels=1))
    return _save(model, tokenizer, folder, seed=seed)


def build_generator(folder: Path, *, seed: int = 0) -> Path:
    """A language model with a chat template, that vLLM can run on a CPU and that reads long prompts."""
    tokenizer = tokenizer_of("qwen")
    config = _config_of("qwen3", tokenizer, num_labels=1, head_dim=64, max_position_embeddings=16_384)
    return _save(Qwen3ForCausalLM(config), tokenizer, folder, seed=seed, family="qwen")


def build_pickle_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Weights in `pytorch_model.bin` and nowhere else."""
    build_checkpoint("llama", folder, seed=seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def build_remote_code_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """A model type that only its own Python file knows; running that file raises."""
    build_checkpoint("llama", folder, seed=seed)
    (folder / "modeling_stranger.py").write_text('raise RuntimeError("remote code was run")\n')
    auto_map = {
        "AutoConfig": "modeling_stranger.StrangerConfig",
        "AutoModelForSequenceClassification": "modeling_stranger.StrangerForSequenceClassification",
    }
    _update_json(folder / "config.json", model_type="stranger", auto_map=auto_map)
    return folder


def build_sentencepiece_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """As Llama 2 was published: a `tokenizer.model`, no `tokenizer.json`, no chat template."""
    model_file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model_file,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        split_digits=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    tokenizer = tokenizer_of("llama")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = _config_of("llama", tokenizer, num_labels=1, **ids)
    model = AutoModelForSequenceClassification.from_config(config)
    _fill_and_save(model, folder, seed)
    (folder / "tokenizer.model").write_bytes(model_file.getvalue())
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return folder


def _config_of(
    architecture: str, tokenizer: PreTrainedTokenizerFast, num_labels: int, **changes: object
) -> PreTrainedConfig:
    model_type = "gemma3_text" if architecture == "gemma3" else architecture
    named = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
    ids = {name: getattr(tokenizer, name) for name in named if getattr(tokenizer, name) is not None}
    if architecture == "modernbert":
        ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    settings = _COMMON | _OWN[architecture] | ids | changes
    return AutoConfig.for_model(model_type, vocab_size=len(tokenizer), num_labels=num_labels, **settings)


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seed: int,
    family: str = "llama",
) -> Path:
    _fill_and_save(model, folder, seed)
    tokenizer.save_pretrained(folder, save_jinja_files=FAMILIES[family].template_in_own_file)
    return folder


def _fill_and_save(model: PreTrainedModel, folder: Path, seed: int) -> None:
    _randomise(dict(model.named_parameters()), seed)
    model.save_pretrained(folder)


def _randomise(parameters: dict[str, torch.nn.Parameter], seed: int) -> None:
    """Matrices anew; vectors (biases and norms, which start at 0 or 1) moved from there."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(parameters.items()):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.ndim > 1 else parameter + 0.3 * noise)


def _update_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))
