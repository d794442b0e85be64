"""What is measured: which requests, on which model, by which systems."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.guerdon_system import Guerdon, compiled_model, five_heads, five_models, one_head
from benchmarks.systems import Echo, Infinity, Padded, System, Vllm
from benchmarks.texts import Group, GroupShape, draw, singles

ROUNDS = 3
DEFAULT_SCALE = 0.4
"""At 1, sixteen groups are sent at once; a complete run then takes about an hour on two cores."""
RL_GROUP = GroupShape(prompt=384, responses=16, shortest=32, longest=224)
SHORT = GroupShape(prompt=16, responses=1, shortest=16, longest=16)
SHARING = {"guerdon": 1.0, "vllm": 1.0}
"""Systems that find a shared prompt by themselves, and their share of the work."""
SLOW = 1 / 6
COMPILED = {"guerdon": 1.0, "guerdon-compiled": 1.0, "vllm": 1.0}
ALL = {**COMPILED, "infinity": SLOW, "padded": SLOW}
"""Rates of systems that share nothing do not depend on how many groups there are, so they get fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Systems that serve one model in one dtype, up at the same time."""

    name: str
    model: str
    dtype: str = "float32"
    systems: tuple[System, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Groups, and how they are sent.

    ``alone`` sends each response as a request of its own, in a random order. ``over_s`` spreads the requests over so
    much time. ``concurrency`` is the most requests under way (0: all at once). ``repeats`` sends each request so
    often. ``systems`` gives each system's share of the groups; the first is what the others are compared with.
    """

    name: str
    title: str
    stage: str
    shape: GroupShape
    groups: float
    systems: Mapping[str, float]
    alone: bool = False
    over_s: float = 0.0
    concurrency: int = 0
    repeats: int = 1
    rounds: int = ROUNDS

    def draw(self, system: str, scale: float, seed: str) -> list[Group]:
        """What one system is asked in one round, a group a request. The same seed draws alike for all systems."""
        return self._once(system, scale, seed) * self.repeats

    def warming(self, system: str, scale: float, seed: str) -> list[Group]:
        """What it is asked before, unmeasured: an eighth of as much, or the same where it is to be repeated."""
        if self.repeats > 1:
            return self._once(system, scale, seed)
        drawn = self._once(system, scale, f"warming {seed}")
        if len(drawn) >= 8:
            return drawn[: len(drawn) // 8]
        few = max(1, len(drawn) * len(drawn[0].responses) // 8)
        return [drawn[0].first(few)]

    def _once(self, system: str, scale: float, seed: str) -> list[Group]:
        count = max(1, round(self.groups * scale * self.systems[system]))
        groups = draw(self.shape, count, f"{self.name} {seed}")
        if self.alone:
            groups = singles(groups)
            random.Random(seed).shuffle(groups)
        return groups


STAGES = (
    Stage(
        name="group",
        model="group",
        systems=(
            Guerdon(),
            Guerdon(name="guerdon-compiled", configure=compiled_model),
            Vllm(),
            Vllm(name="vllm-uncached", caches=False),
            Infinity(),
            Padded(),
        ),
    ),
    Stage(name="bf16", model="group", dtype="bfloat16", systems=(Guerdon(), Vllm(), Infinity(), Padded())),
    Stage(
        name="small",
        model="small",
        systems=(
            Guerdon(),
            Guerdon(name="guerdon-compiled", configure=compiled_model),
            Vllm(),
            Infinity(),
            Padded(),
        ),
    ),
    Stage(
        name="encoder",
        model="encoder",
        systems=(
            Guerdon(),
            Guerdon(name="guerdon-compiled", configure=compiled_model),
            Vllm(caches=None),
            Infinity(),
            Padded(),
        ),
    ),
    Stage(name="hits", model="small", systems=(Guerdon(stores=True), Echo())),
    Stage(
        name="ensembles",
        model="member0",
        systems=(
            Guerdon(name="one-head", configure=one_head),
            Guerdon(name="five-heads", configure=five_heads),
            Guerdon(name="one-model"),
            Guerdon(name="five-models", configure=five_models),
        ),
    ),
)

WORKLOADS = (
    Workload(
        name="groups",
        title="16 responses to 384 tokens, a group a request, all at once",
        stage="group",
        shape=RL_GROUP,
        groups=16,
        systems={**ALL, "vllm-uncached": SLOW},
    ),
    Workload(
        name="singles",
        title="the same, a response a request, all at once in random order",
        stage="group",
        shape=RL_GROUP,
        groups=16,
        systems=COMPILED,
        alone=True,
    ),
    Workload(
        name="trickle",
        title="the same, a response a request, arriving over 2 s",
        stage="group",
        shape=RL_GROUP,
        groups=16,
        systems=SHARING,
        alone=True,
        over_s=2.0,
    ),
    Workload(
        name="unshared",
        title="nothing shared: 512 tokens each, all at once",
        stage="group",
        shape=GroupShape(prompt=256, responses=1, shortest=256, longest=256),
        groups=40,
        systems={**ALL, "infinity": 0.5, "padded": 0.5},
    ),
    Workload(
        name="long",
        title="4 responses to 4,096 tokens, a group a request",
        stage="group",
        shape=GroupShape(prompt=4096, responses=4, shortest=64, longest=192),
        groups=2,
        systems={**SHARING, "infinity": 0.5},
        rounds=2,
    ),
    Workload(
        name="groups64",
        title="64 responses to 384 tokens, a group a request",
        stage="group",
        shape=GroupShape(prompt=384, responses=64, shortest=32, longest=224),
        groups=3,
        systems=SHARING,
        rounds=2,
    ),
    Workload(
        name="bf16",
        title="groups of 16 in bfloat16",
        stage="bf16",
        shape=RL_GROUP,
        groups=2,
        systems=SHARING,
        rounds=2,
    ),
    Workload(
        name="bf16-few",
        title="a group of 4 in bfloat16",
        stage="bf16",
        shape=GroupShape(prompt=384, responses=4, shortest=32, longest=224),
        groups=1,
        systems=dict.fromkeys(ALL, 1.0),
        rounds=1,
    ),
    Workload(
        name="bf16-unshared",
        title="nothing shared, 512 tokens each, in bfloat16",
        stage="bf16",
        shape=GroupShape(prompt=256, responses=1, shortest=256, longest=256),
        groups=10,
        systems={"guerdon": 1.0, "vllm": 1.0, "infinity": 0.5},
        rounds=2,
    ),
    Workload(
        name="small",
        title="32 tokens on a 3.2 M-parameter model, one at a time",
        stage="small",
        shape=SHORT,
        groups=500,
        systems=dict.fromkeys(ALL, 1.0),
        concurrency=1,
    ),
    Workload(
        name="small32",
        title="32 tokens on a 3.2 M-parameter model, 32 at a time",
        stage="small",
        shape=SHORT,
        groups=2500,
        systems=dict.fromkeys(ALL, 1.0),
        concurrency=32,
    ),
    Workload(
        name="encoder",
        title="a cross-encoder reranks 32 documents of 64 to 200 tokens",
        stage="encoder",
        shape=GroupShape(prompt=24, responses=32, shortest=64, longest=200),
        groups=20,
        systems=dict.fromkeys(ALL, 1.0),
    ),
    Workload(
        name="hits",
        title="stored scores, one response a request, one at a time",
        stage="hits",
        shape=SHORT,
        groups=40,
        systems={"guerdon": 1.0, "echo": 1.0},
        concurrency=1,
        repeats=40,
    ),
    Workload(
        name="hits32",
        title="stored scores, one response a request, 32 at a time",
        stage="hits",
        shape=SHORT,
        groups=40,
        systems={"guerdon": 1.0, "echo": 1.0},
        concurrency=32,
        repeats=100,
    ),
    Workload(
        name="hits-groups",
        title="stored scores, 16 responses to 384 tokens, one at a time",
        stage="hits",
        shape=RL_GROUP,
        groups=10,
        systems={"guerdon": 1.0, "echo": 1.0},
        concurrency=1,
        repeats=40,
    ),
    Workload(
        name="heads",
        title="five heads over one backbone, against one head",
        stage="ensembles",
        shape=RL_GROUP,
        groups=10,
        systems={"five-heads": 1.0, "one-head": 1.0},
        rounds=7,
    ),
    Workload(
        name="models",
        title="five models, against one",
        stage="ensembles",
        shape=RL_GROUP,
        groups=5,
        systems={"five-models": 1.0, "one-model": 1.0},
    ),
)
