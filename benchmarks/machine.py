"""What the machine is, and how fast it multiplies matrices."""

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from torch.nn.functional import linear

from benchmarks.models import Shape

TOLD_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx_vnni")
TOLD_PACKAGES = ("guerdon", "torch", "transformers", "numpy", "tokenizers", "fastapi", "uvicorn", "aiohttp")
TOKENS = {"float32": 2048, "bfloat16": 256}
"""Rows of the measured product; few where the type may have no instructions."""
RATED_FOR_S = 0.4
"""How long passes are repeated: on a machine with others, one of them may go undisturbed."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware and the versions that a result holds for. ``commit`` is this checkout's, marked if files differ."""

    cpu: str
    cores: int
    flags: list[str]
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    commit: str

    @property
    def slug(self) -> str:
        """A short name for files."""
        words = re.findall(r"[a-z0-9]+", self.cpu.lower())
        return "-".join([*words[:4], f"{self.cores}cores"])


def describe() -> Machine:
    """What the machine is, where that can be found out."""
    cpu_text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", cpu_text, flags=re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpu_text, flags=re.MULTILINE)
    known = set(flags.group(1).split()) if flags else set()
    return Machine(
        cpu=name.group(1) if name else platform.processor() or platform.machine(),
        cores=cores(),
        flags=[flag for flag in TOLD_FLAGS if flag in known],
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: found for name in TOLD_PACKAGES if (found := _version(name))},
        commit=_commit(),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matrix_rate(shape: Shape, dtype: str) -> float:
    """Floating-point operations a second of torch's linear layers at a model's own shapes, on all cores.

    The best of several passes over one block's layers: what the machine can do when nothing else is in the way.
    """
    torch.set_num_threads(cores())
    kind = getattr(torch, dtype)
    tokens = TOKENS[dtype]
    products = [
        (torch.randn(tokens, inputs).to(kind), torch.randn(outputs, inputs).to(kind))
        for inputs, outputs in shape.linears().values()
    ]
    work = sum(2 * tokens * weight.numel() for _, weight in products)
    seconds = float("inf")
    until = time.perf_counter() + RATED_FOR_S
    with torch.inference_mode():
        while time.perf_counter() < until:
            began = time.perf_counter()
            for rows, weight in products:
                linear(rows, weight)
            seconds = min(seconds, time.perf_counter() - began)
    return work / seconds


def _commit() -> str:
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(git, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
