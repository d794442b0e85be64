"""Whether a response's reward depends on what shares its batch: many random batches, against each response alone."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from benchmarks.models import WORDS
from benchmarks.stage import say
from guerdon.domain.errors import ServiceError
from guerdon.domain.queries import Answer, Query
from guerdon.engines.settings import EngineSettings
from guerdon.engines.torch_engine import TorchEngine

MODEL = "small"
DTYPES = ("float32", "bfloat16")
BATCHES = 500
PROMPTS, RESPONSES = 8, 8
LARGEST_BATCH = 8

Sequences = Sequence[tuple[int, ...]]
Score = Callable[[Sequences], list[float]]


def measure_neighbours(models: Path, scale: float) -> list[dict[str, Any]]:
    """One row for each dtype and each way of batching: the largest differences of any response in any batch.

    They are told to the same way's answer for the response alone, to transformers' for it alone in the same dtype,
    and to transformers' for it alone in float32.
    """
    say("neighbours: random batches against each response alone")
    pool = _pool(random.Random(0))
    folder = models / MODEL
    truth = _alone(partial(_padded_scores, _model(folder, "float32")), pool)
    rows = []
    for dtype in DTYPES:
        padded = partial(_padded_scores, _model(folder, dtype))
        engine = TorchEngine(EngineSettings(folder=str(folder), dtype=dtype, device="cpu"))
        ways: dict[str, Score] = {"guerdon": partial(_engine_scores, engine), "transformers, padded": padded}
        same_dtype = _alone(padded, pool)
        for way, score in ways.items():
            known = {"itself": _alone(score, pool), "transformers": same_dtype, "float32": truth}
            compared = _compared(pool, score, known, batches=max(10, round(BATCHES * scale)))
            rows.append({"batched_by": way, "dtype": dtype, **compared})
            say(f"  {way:22} {dtype:9} {compared['to_itself_alone']:.2g}")
    return rows


def _compared(pool: Sequences, score: Score, known: Mapping[str, Sequence[float]], *, batches: int) -> dict[str, Any]:
    """The largest differences to each known answer over random batches, the same batches for all who are compared."""
    chance = random.Random(1)
    largest = dict.fromkeys(known, 0.0)
    began = time.perf_counter()
    for _ in range(batches):
        chosen = chance.sample(range(len(pool)), chance.randint(2, LARGEST_BATCH))
        for index, found in zip(chosen, score([pool[index] for index in chosen]), strict=True):
            for name, alone in known.items():
                largest[name] = max(largest[name], abs(found - alone[index]))
    differences = {f"to_{name}_alone": gap for name, gap in largest.items()}
    return {"batches": batches, **differences, "seconds": time.perf_counter() - began}


def _pool(chance: random.Random) -> list[tuple[int, ...]]:
    """Prompts of several lengths with several responses each, so that some neighbours share a prefix."""
    pool = []
    for _ in range(PROMPTS):
        prompt = _tokens(chance, chance.randint(8, 48))
        pool += [prompt + _tokens(chance, chance.randint(2, 32)) for _ in range(RESPONSES)]
    return pool


def _tokens(chance: random.Random, count: int) -> tuple[int, ...]:
    return tuple(chance.randrange(WORDS) for _ in range(count))


def _engine_scores(engine: TorchEngine, batch: Sequences) -> list[float]:
    found: dict[int, float] = {}

    def deliver(index: int, answer: Answer, _tokens: int) -> None:
        if isinstance(answer, ServiceError):
            raise answer
        found[index] = float(answer[0])

    engine.compute([Query.of(ids) for ids in batch], deliver)
    return [found[index] for index in range(len(batch))]


def _padded_scores(model: PreTrainedModel, batch: Sequences) -> list[float]:
    longest = max(map(len, batch))
    ids = torch.tensor([[*row, *[WORDS] * (longest - len(row))] for row in batch])
    lengths = torch.tensor([len(row) for row in batch])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    with torch.inference_mode():
        return [float(logit) for logit in model(input_ids=ids, attention_mask=mask).logits[:, 0]]


def _alone(score: Score, pool: Sequences) -> list[float]:
    return [found for row in pool for found in score([row])]


def _model(folder: Path, dtype: str) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
