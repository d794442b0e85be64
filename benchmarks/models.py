"""Checkpoints with random weights that every system loads: same files, same tokens, known shapes."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

WORDS = 320
"""Distinct words of the benchmark's language. One word is one token, so lengths in words are lengths in tokens."""
PAIR_MARKS = ("[CLS]", "[SEP]", "[SEP]")
"""What an encoder's pair has besides its words."""
NAMED = {"pad_token": "<pad>", "eos_token": "<eos>"}
NAMED_OF_PAIRS = {"pad_token": "<pad>", "unk_token": "<eos>", "cls_token": "[CLS]", "sep_token": "[SEP]"}
MADE_BY = 1
"""Raised when checkpoints are made in another way, so that older ones are made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What decides a model's arithmetic. ``head_dim`` is of one attention head."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    encoder: bool = False

    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one block, as (inputs, outputs)."""
        attended = self.heads * self.head_dim
        shared = {
            "query": (self.hidden, attended),
            "key": (self.hidden, self.kv_heads * self.head_dim),
            "value": (self.hidden, self.kv_heads * self.head_dim),
            "output": (attended, self.hidden),
            "up": (self.hidden, self.mlp),
            "down": (self.mlp, self.hidden),
        }
        return shared if self.encoder else shared | {"gate": (self.hidden, self.mlp)}


GROUP = Shape(layers=12, hidden=512, heads=8, kv_heads=4, head_dim=64, mlp=1536)
MEMBER = Shape(layers=6, hidden=384, heads=6, kv_heads=2, head_dim=64, mlp=1024)
SMALL = Shape(layers=4, hidden=256, heads=4, kv_heads=2, head_dim=64, mlp=768)
TINY = Shape(layers=1, hidden=32, heads=2, kv_heads=1, head_dim=16, mlp=64)
ENCODER = Shape(layers=6, hidden=384, heads=12, kv_heads=12, head_dim=32, mlp=1536, encoder=True)

MEMBERS = tuple(f"member{index}" for index in range(5))
SHAPES: dict[str, Shape] = {
    "group": GROUP,
    "small": SMALL,
    "tiny": TINY,
    "encoder": ENCODER,
    **dict.fromkeys(MEMBERS, MEMBER),
}
"""Every checkpoint by name. Members of the ensemble differ in their weights only."""
POSITIONS = 8192


def make_models(root: Path) -> None:
    """Write every checkpoint below ``root`` that is not there yet."""
    for seed, (name, shape) in enumerate(SHAPES.items()):
        folder = root / name
        recipe = {"made_by": MADE_BY, "seed": seed, **asdict(shape)}
        if _recipe(folder) != recipe:
            shutil.rmtree(folder, ignore_errors=True)
            _write(folder, shape, seed)
            (folder / "recipe.json").write_text(json.dumps(recipe))


def _recipe(folder: Path) -> object:
    file = folder / "recipe.json"
    return json.loads(file.read_text()) if file.is_file() else None


def _write(folder: Path, shape: Shape, seed: int) -> None:
    torch.manual_seed(seed)
    model = _encoder(shape) if shape.encoder else _decoder(shape)
    model.eval().save_pretrained(folder)
    _tokenizer(pairs=shape.encoder).save(str(folder / "tokenizer.json"))
    named = NAMED_OF_PAIRS if shape.encoder else NAMED
    described = {
        # The class name that transformers 4 and 5 both know, so that every system reads the file as it stands.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512 if shape.encoder else POSITIONS,
        "model_input_names": ["input_ids", *(["token_type_ids"] if shape.encoder else []), "attention_mask"],
        **named,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(named, indent=2))
    if not shape.encoder:
        _say_rope_twice(folder / "config.json")


def decoder_config(shape: Shape, vocabulary: int, **more: Any) -> Qwen3Config:
    """A one-label decoder of a shape."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=POSITIONS,
        num_labels=1,
        **more,
    )


def _decoder(shape: Shape) -> PreTrainedModel:
    config = decoder_config(
        shape,
        WORDS + len(NAMED),
        pad_token_id=WORDS,
        eos_token_id=WORDS + 1,
        bos_token_id=None,
        use_cache=False,
        initializer_range=0.04,
    )
    model = Qwen3ForSequenceClassification(config)
    # Rewards of different texts then differ by about one, as a trained model's do.
    torch.nn.init.normal_(model.score.weight, std=shape.hidden**-0.5)
    return model


def _encoder(shape: Shape) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=WORDS + 4,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=512,
        num_labels=1,
        pad_token_id=WORDS,
        initializer_range=0.04,
    )
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=2 * shape.hidden**-0.5)
    return model


def _tokenizer(*, pairs: bool) -> Tokenizer:
    """Words parted by blanks; a pair is two texts one after the other, marked where the model is an encoder."""
    vocabulary = {f"w{index}": index for index in range(WORDS)} | {"<pad>": WORDS, "<eos>": WORDS + 1}
    if pairs:
        vocabulary |= {"[CLS]": WORDS + 2, "[SEP]": WORDS + 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([word for word in vocabulary if not word.startswith("w")])
    if pairs:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
        )
    return tokenizer


def _say_rope_twice(file: Path) -> None:
    """Transformers 5 writes the base of the rotary embedding where version 4 does not look for it."""
    config = json.loads(file.read_text())
    config["rope_theta"] = config.get("rope_parameters", {}).get("rope_theta", 10_000.0)
    file.write_text(json.dumps(config, indent=2))
