"""The proxy reward models: small classifiers that differ by seed only, saved as any trainer would save them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForSequenceClassification

from benchmarks.machine import cores
from benchmarks.overoptimization.pairs import Pairs
from benchmarks.overoptimization.policy import prompt_text, response_text, topic_word, word
from benchmarks.overoptimization.settings import PolicySettings, Start, TrainingSettings
from guerdon.domain.samples import assistant, user
from guerdon.engines.tokenizer import ModelTokenizer

PAD, EOS = "<pad>", "<eos>"
READ = {"template": "plain", "append_eos": True}
"""How a prompt and its response become one sequence, in training and in the service."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token ids [pairs, length] of the marked responses and of the others, each with its prompt."""

    chosen: Tensor
    rejected: Tensor

    @classmethod
    def of(cls, pairs: Pairs, settings: PolicySettings, tokenizer: ModelTokenizer) -> "Sequences":
        """By the service's own tokenizer."""
        chosen, rejected = [], []
        for topic, responses, better in zip(pairs.topics, pairs.responses, pairs.better, strict=True):
            prompt = user(prompt_text(topic, settings.levels))
            both = [tokenizer.conversation(prompt, assistant(response_text(one))).ids for one in responses]
            chosen.append(both[better])
            rejected.append(both[1 - better])
        return cls(torch.tensor(chosen), torch.tensor(rejected))


def write_tokenizer(folder: Path, settings: PolicySettings) -> ModelTokenizer:
    """A tokenizer that knows the language's words, beside the checkpoint, and what the service makes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel(_vocabulary(settings), unk_token=EOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([PAD, EOS])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2))
    return ModelTokenizer(folder, max_tokens=None, template="plain", append_eos=True)


def train_all(
    folders: Sequence[Path],
    policy: PolicySettings,
    settings: TrainingSettings,
    start: Start,
    world: int,
    data: Sequences,
) -> list[LlamaForSequenceClassification]:
    """Members that differ by seed only, one saved in each folder. As many learn at a time as there are cores."""
    length = data.chosen.shape[1]
    seeds = [1000 * world + index + 1 for index in range(len(folders))]
    models = [started(policy, settings, start, (1000 * world, seed), length=length) for seed in seeds]
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(lambda model, seed: train(model, settings, seed, data), models, seeds))
    for model, folder in zip(models, folders, strict=True):
        model.eval().save_pretrained(folder)
    return models


def train(model: LlamaForSequenceClassification, settings: TrainingSettings, seed: int, data: Sequences) -> None:
    """One member, its pairs in an order by the seed."""
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    model.train()
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(data.chosen), generator=order).split(settings.batch):
            loss = -logsigmoid(_margins(model, data, batch)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def started(
    policy: PolicySettings, settings: TrainingSettings, start: Start, seeds: tuple[int, int], *, length: int
) -> LlamaForSequenceClassification:
    """A member before its training, which reads sequences of so many tokens. ``seeds`` are its world's and its own."""
    vocabulary = _vocabulary(policy)
    torch.manual_seed(seeds[1])
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=settings.hidden,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=length,
        initializer_range=settings.hidden**-0.5,
        num_labels=1,
        pad_token_id=vocabulary[PAD],
        eos_token_id=vocabulary[EOS],
        bos_token_id=None,
        use_cache=False,
    )
    model = LlamaForSequenceClassification(config)
    chance = torch.Generator().manual_seed(seeds[0] if start == "shared" else seeds[1])
    std = settings.small_start if start == "small" else 1.0
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=std, generator=chance)
    return model


def accuracy(model: LlamaForSequenceClassification, held_out: Sequences) -> float:
    """The share of pairs of which the model scores the better response higher."""
    with torch.inference_mode():
        margins = _margins(model, held_out, torch.arange(len(held_out.chosen)))
    return float((margins > 0).float().mean())


def scores_alone(folder: Path, sequences: Sequence[Sequence[int]]) -> list[float]:
    """What transformers itself answers for each sequence, read by itself."""
    model = LlamaForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [float(model(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in sequences]


def _margins(model: LlamaForSequenceClassification, data: Sequences, batch: Tensor) -> Tensor:
    """How much higher each marked response of the batch is scored than the other [pairs]."""
    chosen, rejected = model(input_ids=torch.cat([data.chosen[batch], data.rejected[batch]])).logits[:, 0].chunk(2)
    return chosen - rejected


def _vocabulary(settings: PolicySettings) -> dict[str, int]:
    words = [word(token) for token in range(settings.tokens)]
    words += [topic_word(axis, level) for axis in range(settings.axes) for level in range(len(settings.levels))]
    return {name: index for index, name in enumerate([*words, PAD, EOS])}
