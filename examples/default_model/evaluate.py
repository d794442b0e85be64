"""Measure the five heads and their ensemble on the held-out prompts; print markdown tables."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from random import Random

import numpy as np
import torch
from backbone import Encoder, Floats, default_folder
from comparisons import Comparison, held_out_comparisons
from corruptions import KINDS
from dataset import load_questions, split
from numpy.typing import NDArray
from train import HEADS, OUTPUT

from guerdon.aggregation import Aggregation, aggregate
from guerdon.scorers.heads import Head, load_head

FACTS = "wrong_fact"
UWO = Aggregation(method="uwo", coefficient=0.5, ddof=0)
WORSE_IN_EIGHT = 7


@dataclass(frozen=True, slots=True)
class Scored:
    """One prompt's scores by one judge: each good answer, and the worse ones by kind."""

    prompt_id: str
    good: Sequence[float]
    worse: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Proportion:
    """Wins of a number of trials, with Wilson's 95 % interval."""

    wins: int
    trials: int

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.wins / self.trials:.3f} ({low:.3f} to {high:.3f})"

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson's score interval."""
        rate, n = self.wins / self.trials, self.trials
        middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
        half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return middle - half, middle + half


def main() -> None:
    """Score the held-out answers and print the tables."""
    args = arguments().parse_args()
    torch.set_num_threads(args.threads)
    _, held_out = split(load_questions())
    comparisons = held_out_comparisons(held_out)
    heads = {name: load_head(args.heads / f"{name}.safetensors") for name in HEADS}
    members = calibrated_scores(comparisons, heads, Encoder(args.backbone or default_folder()))
    ensemble = np.array([aggregate(row.tolist(), UWO) for row in members.T])
    judges = dict(zip(heads, members, strict=True)) | {"ensemble": ensemble}
    scored = {name: by_prompt(comparisons, scores) for name, scores in judges.items()}
    print(f"{len(held_out)} held-out prompts, {members.shape[1]} answers.\n")
    print(pairwise_table(scored), best_of_eight_table(scored), correlation_table(members, list(heads)), sep="\n\n")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=Path, default=OUTPUT, help="folder of the head files")
    parser.add_argument("--backbone", type=Path, help="folder of all-MiniLM-L6-v2 (default: the installed package)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser


def calibrated_scores(
    comparisons: Sequence[Comparison], heads: Mapping[str, Head], encoder: Encoder
) -> NDArray[np.float64]:
    """The z-scores [head, answer] of all answers, in the order of the comparisons."""
    features: Floats = np.concatenate([encoder.features(c.question.prompt, _answers(c)) for c in comparisons])
    return np.stack([_z_scores(head, features) for head in heads.values()])


def by_prompt(comparisons: Sequence[Comparison], scores: NDArray[np.float64]) -> list[Scored]:
    """One judge's scores, sorted by prompt and by kind of answer."""
    remaining = iter(scores.tolist())
    prompts = []
    for comparison in comparisons:
        good = [next(remaining) for _ in comparison.good]
        worse: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for kind, _ in comparison.worse:
            worse[kind].append(next(remaining))
        prompts.append(Scored(comparison.question.id, good, worse))
    return prompts


def pairwise(prompts: Sequence[Scored], kinds: Sequence[str]) -> Proportion:
    """How often a good answer scores above a worse one of these kinds, over all their pairs."""
    wins = [
        good > worse for prompt in prompts for kind in kinds for worse in prompt.worse[kind] for good in prompt.good
    ]
    return Proportion(sum(wins), len(wins))


def best_of_eight(prompts: Sequence[Scored], *, with_wrong_fact: bool) -> Proportion:
    """How often a good answer is the best of eight, among worse ones of seven different kinds.

    Each good answer of each prompt is tried once. ``with_wrong_fact`` makes one of the seven a wrong fact.
    """
    kinds = [kind for kind in KINDS if kind != FACTS]
    wins = []
    for prompt in prompts:
        rng = Random(prompt.prompt_id)
        for good in prompt.good:
            drawn = rng.sample(kinds, WORSE_IN_EIGHT)
            others = [rng.choice(prompt.worse[kind]) for kind in drawn]
            if with_wrong_fact:
                others[0] = prompt.worse[FACTS][0]
            wins.append(good > max(others))
    return Proportion(sum(wins), len(wins))


def pairwise_table(scored: Mapping[str, Sequence[Scored]]) -> str:
    """Accuracy by kind: the heads, then the ensemble with its interval."""
    rows = [[kind, *_accuracies(scored, [kind])] for kind in KINDS]
    rows.append(["all but wrong_fact", *_accuracies(scored, [kind for kind in KINDS if kind != FACTS])])
    return markdown(["worse answer", *HEADS, "ensemble (95 % interval)", "pairs"], rows)


def best_of_eight_table(scored: Mapping[str, Sequence[Scored]]) -> str:
    """Best-of-eight accuracy: the heads, then the ensemble with its interval."""
    rows = []
    for label, facts in (("without wrong facts", False), ("one of the seven is a wrong fact", True)):
        results = [best_of_eight(prompts, with_wrong_fact=facts) for prompts in scored.values()]
        rows.append([label, *_cells(results)])
    return markdown(["best of eight", *HEADS, "ensemble (95 % interval)", "trials"], rows)


def correlation_table(members: NDArray[np.float64], names: Sequence[str]) -> str:
    """Pearson's correlation between the heads over all held-out answers."""
    matrix: NDArray[np.float64] = np.atleast_2d(np.corrcoef(members))
    rows = [[name, *(f"{value:.3f}" for value in row)] for name, row in zip(names, matrix, strict=True)]
    return markdown(["correlation", *names], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _accuracies(scored: Mapping[str, Sequence[Scored]], kinds: Sequence[str]) -> list[str]:
    return _cells([pairwise(prompts, kinds) for prompts in scored.values()])


def _cells(results: Sequence[Proportion]) -> list[str]:
    *heads, ensemble = results
    return [*(f"{p.wins / p.trials:.3f}" for p in heads), str(ensemble), str(ensemble.trials)]


def _answers(comparison: Comparison) -> list[str]:
    return [*comparison.good, *(text for _, text in comparison.worse)]


def _z_scores(head: Head, features: Floats) -> NDArray[np.float64]:
    calibration = head.calibration
    if calibration is None:
        raise SystemExit("a head without calibration: run train.py")
    return (head(features).astype(np.float64) - calibration.mean) / calibration.std


if __name__ == "__main__":
    main()
