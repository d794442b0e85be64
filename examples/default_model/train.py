"""Train the five heads of the embedded default on the questions beside this file."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from backbone import FEATURES, Encoder, Floats, default_folder
from comparisons import Comparison, held_out_comparisons, training_comparisons
from dataset import load_questions, split
from torch import Tensor, nn
from torch.nn.functional import softplus

from guerdon.aggregation import Calibration
from guerdon.scorers.heads import Head, save_head

HEADS = "abcde"
OUTPUT = Path(__file__).parents[2] / "service" / "guerdon" / "builtin" / "heads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is tuned; the design of the features is not."""

    hidden: int = 64
    dropout: float = 0.6
    weight_decay: float = 0.05
    learning_rate: float = 3e-3
    epochs: int = 25
    batch: int = 8
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """The features of one prompt's answers: the good ones and the worse ones."""

    good: Tensor
    worse: Tensor


class Network(nn.Module):
    """The head while it is trained: its two linear layers with dropout before each."""

    def __init__(self, width: int, recipe: Recipe) -> None:
        super().__init__()
        self.first = nn.Linear(width, recipe.hidden)
        self.last = nn.Linear(recipe.hidden, 1)
        self._before_first = nn.Dropout(recipe.dropout / 2)
        self._before_last = nn.Dropout(recipe.dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores, one a row."""
        hidden = torch.relu(self.first(self._before_first(inputs)))
        scores: Tensor = self.last(self._before_last(hidden))
        return scores[:, 0]


def main() -> None:
    """Train, calibrate and write the heads."""
    args = arguments().parse_args()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(mode=True)
    folder = args.backbone or default_folder()
    encoder = Encoder(folder)
    training, held_out = split(load_questions())
    groups = groups_of(training_comparisons(training), encoder)
    known = held_out_inputs(held_out_comparisons(held_out), encoder)
    args.output.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(HEADS, start=1):
        head = calibrated(train_head(groups, Recipe(epochs=args.epochs), seed), known)
        about = {
            "seed": seed,
            "training_prompts": len(training),
            "calibration_responses": len(known),
            "backbone_sha256": sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        }
        save_head(args.output / f"{name}.safetensors", head, about=about)
        print(f"{name}: seed {seed}, {len(groups)} prompts, calibration {head.calibration}", flush=True)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the head files")
    parser.add_argument("--backbone", type=Path, help="folder of all-MiniLM-L6-v2 (default: the installed package)")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="passes over the training prompts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser


def groups_of(comparisons: Sequence[Comparison], encoder: Encoder) -> list[Group]:
    """The head inputs of every comparison."""
    encoder.encode(text for c in comparisons for text in (c.question.prompt, *c.good, *(t for _, t in c.worse)))
    return [
        Group(
            torch.from_numpy(encoder.features(c.question.prompt, c.good)),
            torch.from_numpy(encoder.features(c.question.prompt, [text for _, text in c.worse])),
        )
        for c in comparisons
    ]


def held_out_inputs(comparisons: Sequence[Comparison], encoder: Encoder) -> Floats:
    """The head inputs of all held-out answers, good and worse: what calibration is measured on."""
    answers = [(c.question.prompt, [*c.good, *(text for _, text in c.worse)]) for c in comparisons]
    return np.concatenate([encoder.features(prompt, texts) for prompt, texts in answers])


def train_head(groups: Sequence[Group], recipe: Recipe, seed: int) -> Head:
    """One head on its own bootstrap sample of the prompts, with the Bradley-Terry loss."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    sample = [groups[i] for i in torch.randint(len(groups), (len(groups),), generator=generator)]
    rows = torch.cat([torch.cat([group.good, group.worse]) for group in sample])
    mean, std = rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-6)
    network = Network(rows.shape[1], recipe)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(sample) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=steps)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(sample), generator=generator).tolist()
        for start in range(0, len(order), recipe.batch):
            batch = [sample[i] for i in order[start : start + recipe.batch]]
            loss = bradley_terry(network, batch, (mean, std), recipe)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return folded(network.eval(), mean, std)


def bradley_terry(network: Network, batch: Sequence[Group], scale: tuple[Tensor, Tensor], recipe: Recipe) -> Tensor:
    """Mean over the prompts of -log P(good beats worse), over all their pairs."""
    mean, std = scale
    rows = torch.cat([torch.cat([group.good, group.worse]) for group in batch])
    scores = network((rows - mean) / std) / recipe.temperature
    sizes = [size for group in batch for size in (len(group.good), len(group.worse))]
    parts = scores.split(sizes)
    losses = [
        softplus(worse[None, :] - good[:, None]).mean() for good, worse in zip(parts[::2], parts[1::2], strict=True)
    ]
    return torch.stack(losses).mean()


def folded(network: Network, mean: Tensor, std: Tensor) -> Head:
    """The head with the standardisation of its inputs folded into its first layer."""
    first, last = network.first, network.last
    weight = first.weight.detach() / std
    bias = first.bias.detach() - weight @ mean
    return Head(
        weights=(weight.numpy(), last.weight.detach().numpy()),
        biases=(bias.numpy(), last.bias.detach().numpy()),
        features=FEATURES,
    )


def calibrated(head: Head, known: Floats) -> Head:
    """The head with the mean and population standard deviation of its scores on known answers."""
    scores = head(known).astype(np.float64)
    calibration = Calibration(mean=float(scores.mean()), std=float(scores.std()))
    return Head(weights=head.weights, biases=head.biases, features=head.features, calibration=calibration)


if __name__ == "__main__":
    main()
