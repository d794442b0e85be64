"""A real vLLM, in an environment of its own (`make install-vllm`), with tiny random models on the CPU."""

from pathlib import Path

import pytest

from checkpoints import build_checkpoint, build_generator

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"


@pytest.fixture(scope="session")
def on_vllm():
    """Settings that start a small server soon: little memory, no compiling, and of its three processes two."""
    if not PYTHON.is_file():
        pytest.fail("there is no vLLM here; run: make install-vllm")
    return {
        "engine": "vllm",
        "vllm_python": str(PYTHON),
        "vllm_args": ["--enforce-eager", "--distributed-executor-backend", "uni"],
        "dtype": "bfloat16",
        "vllm_env": {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # on a CPU, `uni` is else passed over
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CACHE_ROOT": str(PYTHON.parents[1] / "cache"),
        },
    }


@pytest.fixture(scope="session")
def generator(tmp_path_factory):
    """A language model that writes nonsense."""
    return build_generator(tmp_path_factory.mktemp("generator") / "lm")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A reward model."""
    return build_checkpoint("qwen3", tmp_path_factory.mktemp("classifier") / "rm", head_dim=64)


@pytest.fixture(scope="session")
def step_classifier(tmp_path_factory):
    """A head with two outputs at every token."""
    return build_checkpoint("qwen3", tmp_path_factory.mktemp("steps") / "prm", head_dim=64, num_labels=2)
