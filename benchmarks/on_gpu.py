"""The engine alone on one GPU: right for every architecture, and how fast on 0.6 B- and 8 B-shaped models.

``python -m benchmarks.on_gpu --out benchmarks/results/gpu.json``; ``--device cpu --tiny`` goes through the same steps
on a machine without one.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, Qwen3ForSequenceClassification

from benchmarks.arithmetic import flops
from benchmarks.models import Shape, decoder_config
from benchmarks.texts import Group, GroupShape, draw
from guerdon.domain.queries import Query
from guerdon.engines.settings import EngineSettings
from guerdon.engines.torch_engine import TorchEngine

SHAPES = {
    "0.6b": Shape(layers=28, hidden=1024, heads=16, kv_heads=8, head_dim=128, mlp=3072),
    "8b": Shape(layers=36, hidden=4096, heads=32, kv_heads=8, head_dim=128, mlp=12288),
}
TINY = {"tiny": Shape(layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, mlp=128)}
VOCABULARY = 1000
DRAWN = GroupShape(prompt=384, responses=16, shortest=32, longest=224)
GROUPS, ROUNDS = 6, 5


def main() -> None:
    """Run everything, print it, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    asked = parser.parse_args()
    result: dict[str, Any] = {"device": _device_name(asked.device), "torch": torch.__version__}
    result["right"] = dict(correctness(asked.device))
    dtype = "float32" if asked.device == "cpu" else "bfloat16"
    for name, shape in (TINY if asked.tiny else SHAPES).items():
        result[name] = measured(shape, asked.device, dtype)
        print(name, json.dumps(result[name], indent=2), flush=True)
    asked.out.write_text(json.dumps(result, indent=2))


def correctness(device: str) -> Iterator[tuple[str, dict[str, float]]]:
    """The largest difference to transformers on the CPU in float32, by architecture and type."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from checkpoints import ARCHITECTURES, build_checkpoint
    from oracle import reference_reward

    rng = random.Random(0)
    prompts = [[rng.randrange(5, 60) for _ in range(length)] for length in (3, 20, 60)]
    texts = [prompt + [rng.randrange(5, 60) for _ in range(rng.choice((1, 9, 40)))] for prompt in prompts * 8]
    with tempfile.TemporaryDirectory() as folder:
        for architecture in ARCHITECTURES:
            checkpoint = build_checkpoint(architecture, Path(folder) / architecture)
            right = np.array([reference_reward(checkpoint, text) for text in texts])
            off: dict[str, float] = {}
            for dtype in ("float32", "bfloat16"):
                settings = EngineSettings(
                    folder=str(checkpoint), device=device, dtype=dtype, prefix_cache_bytes=1 << 24
                )
                engine = TorchEngine(settings)
                for _ in range(2):  # the second time from the prefix cache
                    answers = _answers(engine, [Query.of(text) for text in texts])
                    off[dtype] = max(off.get(dtype, 0.0), float(np.abs(answers - right).max()))
            print(architecture, off, flush=True)
            yield architecture, off


@dataclass(frozen=True, slots=True)
class _Timed:
    """Seconds of the median round."""

    seconds: float

    @classmethod
    def of(cls, work: Callable[[], Any], device: str) -> "_Timed":
        times = []
        for _ in range(ROUNDS + 1):
            _wait(device)
            started = time.perf_counter()
            work()
            _wait(device)
            times.append(time.perf_counter() - started)
        return cls(sorted(times[1:])[ROUNDS // 2])


def measured(shape: Shape, device: str, dtype: str) -> dict[str, Any]:
    """Groups of 16, packed by the engine and padded by transformers, and the matrix rate beside them."""
    rng = random.Random(1)
    sizes = draw(DRAWN, GROUPS, "gpu")
    texts = [_texts(group, rng) for group in sizes]
    rate = matrix_rate(shape, device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        _write(shape, Path(folder), device, dtype)
        engine = TorchEngine(EngineSettings(folder=folder, device=device, dtype=dtype))
        queries = [Query.of(text) for group in texts for text in group]
        packed = _Timed.of(partial(_answers, engine, queries), device)
        del engine
        padded = _Timed.of(_padded(Path(folder), device, dtype, texts), device)
    shared = sum(group.prompt_tokens + sum(group.response_tokens) for group in sizes)
    return {
        "dtype": dtype,
        "matrix_tflops": rate / 1e12,
        "sequences_per_s": len(queries) / packed.seconds,
        "computed_tokens_per_s": shared / packed.seconds,
        "answered_tokens_per_s": sum(query.length for query in queries) / packed.seconds,
        "share_of_matrix_rate": flops(shape, sizes) / packed.seconds / rate,
        "padded_sequences_per_s": len(queries) / padded.seconds,
        "ratio_to_padded": padded.seconds / packed.seconds,
    }


def matrix_rate(shape: Shape, device: str, dtype: str) -> float:
    """Operations a second of the model's own linear layers, one after the other, on a long row."""
    kind = getattr(torch, dtype)
    weights = [torch.randn(outputs, inputs, device=device, dtype=kind) for inputs, outputs in shape.linears().values()]
    rows = {weight.shape[1]: torch.randn(8192, weight.shape[1], device=device, dtype=kind) for weight in weights}

    def once() -> None:
        for _ in range(4):
            for weight in weights:
                torch.nn.functional.linear(rows[weight.shape[1]], weight)

    work = 4 * sum(2 * 8192 * weight.numel() for weight in weights)
    return work / _Timed.of(once, device).seconds


def _padded(folder: Path, device: str, dtype: str, texts: list[list[list[int]]]) -> Callable[[], None]:
    """Transformers as remote reward servers run it: a group a batch, padded on the right."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
    pad = model.config.pad_token_id

    def run() -> None:
        with torch.inference_mode():
            for group in texts:
                longest = max(map(len, group))
                ids = torch.tensor([text + [pad] * (longest - len(text)) for text in group], device=device)
                model(input_ids=ids, attention_mask=(ids != pad).long()).logits.float().cpu()

    return run


def _write(shape: Shape, folder: Path, device: str, dtype: str) -> None:
    config = decoder_config(shape, VOCABULARY, pad_token_id=0, dtype=dtype)
    with torch.device(device):
        model = Qwen3ForSequenceClassification._from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)


def _texts(group: Group, rng: random.Random) -> list[list[int]]:
    prompt = [rng.randrange(1, VOCABULARY) for _ in range(group.prompt_tokens)]
    return [prompt + [rng.randrange(1, VOCABULARY) for _ in range(length)] for length in group.response_tokens]


def _answers(engine: TorchEngine, queries: list[Query]) -> np.ndarray[Any, Any]:
    found: dict[int, Any] = {}
    engine.compute(queries, lambda index, answer, _: found.update({index: answer}))
    return np.array([found[index] for index in range(len(queries))])


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _device_name(device: str) -> str:
    return "CPU" if device == "cpu" else torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
