"""Fit the range of the backbone's dot product for the `relevance` scorer, on the training questions.

Prints the dot products of a question's two good answers (relevant to each other) and of good answers to
questions of different topics (not relevant); the range runs from the median of the latter to that of the former.
"""

import argparse
from pathlib import Path
from random import Random

import numpy as np
from backbone import Encoder, default_folder
from dataset import load_questions, split

LAYER = 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", type=Path, help="folder of all-MiniLM-L6-v2 (default: the installed package)")
    args = parser.parse_args()
    encoder = Encoder(args.backbone or default_folder())
    training, _ = split(load_questions())
    encoder.encode(text for question in training for text in (question.prompt, *question.good))
    rng = Random(0)
    others = [rng.choice([o for o in training if o.topic != question.topic]) for question in training]
    answers = [encoder.dot(*question.good, LAYER) for question in training]
    strangers = [encoder.dot(q.good[0], o.good[0], LAYER) for q, o in zip(training, others, strict=True)]
    prompts = [encoder.dot(question.prompt, question.good[0], LAYER) for question in training]
    print(f"{'pairs':<40} {'n':>4} {'5 %':>7} {'median':>7} {'95 %':>7}")
    for name, dots in (
        ("answers to questions of different topics", strangers),
        ("two good answers to one question", answers),
        ("a question and its good answer", prompts),
    ):
        low, median, high = np.quantile(dots, (0.05, 0.5, 0.95))
        print(f"{name:<40} {len(dots):>4} {low:>7.2f} {median:>7.2f} {high:>7.2f}")
    print(f"dot_range: {{low: {np.median(strangers):.2f}, high: {np.median(answers):.2f}}}")


if __name__ == "__main__":
    main()
