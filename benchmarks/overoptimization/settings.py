"""Every number of the set-up."""

from dataclasses import dataclass
from typing import Literal

GoldKind = Literal["saturating", "penalised"]
Start = Literal["own", "small", "shared"]

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6144, 8192, 12_500)
"""The paper's values of n."""
COEFFICIENTS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""The lambdas of uwo that are shown, all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What is written. Tokens are numbered from the most frequent to the rarest.

    A token's log-probability is -``zipf`` * ln(rank) + ``tilt`` * (its features . the prompt's topic) / sqrt(``axes``).
    A share of ``loops`` of the responses holds one of the ``rarest`` tokens again and again: the length of the loop is
    at least ``loop_least``, falls as length^-``loop_tail`` above that, and is cut off at ``loop_most``.
    """

    tokens: int = 1000
    length: int = 24
    axes: int = 8
    levels: tuple[float, ...] = (-1.5, -0.5, 0.5, 1.5)
    zipf: float = 1.2
    tilt: float = 1.0
    loops: float = 0.001
    rarest: int = 300
    loop_least: int = 4
    loop_most: int = 12
    loop_tail: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldSettings:
    """What is good. Token values are normal with standard deviation 1; the others are as large in proportion.

    ``repeat`` is how much of a token's value its next occurrence keeps where gold saturates. ``run_penalty`` is what
    each token costs that is the one before it again, and ``rare_penalty`` what each of the policy's rarest tokens
    costs, where gold is penalised instead.
    """

    match: float = 0.5
    neighbours: float = 0.5
    neighbour_rank: int = 8
    repeat: float = 0.5
    run_penalty: float = 2.0
    rare_penalty: float = 0.5
    prompts: int = 200
    responses: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a member learns from pairs: a one-layer Llama with a score head, the Bradley-Terry loss, AdamW."""

    hidden: int = 32
    heads: int = 2
    mlp: int = 64
    layers: int = 1
    small_start: float = 0.02
    epochs: int = 3
    batch: int = 64
    learning_rate: float = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Members trained in one way, in every world, and scoring the first ``prompts`` of its prompts.

    ``flipped`` is the share of wrong labels. ``start``: embeddings begin at N(0, 1), each member's its ``own``; at the
    same place for all members (``shared``); or near 0, each its own (``small``).
    """

    name: str
    title: str
    gold: GoldKind = "saturating"
    flipped: float = 0.25
    start: Start = "own"
    prompts: int = 20


MAIN = Condition(name="noisy", title="25 % of labels flipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One run."""

    worlds: int = 3
    responses: int = 12_600
    members: int = 5
    pairs: int = 8000
    held_out: int = 2000
    calibration_prompts: int = 100
    calibration_responses: int = 20
    policy: PolicySettings = PolicySettings()
    gold: GoldSettings = GoldSettings()
    training: TrainingSettings = TrainingSettings()
    conditions: tuple[Condition, ...] = (
        MAIN,
        Condition(name="clean", title="no label flipped", flipped=0.0),
        Condition(name="penalised", title="penalised gold, 25 % flipped", gold="penalised", prompts=5),
        Condition(name="small", title="small start, 25 % flipped", start="small", prompts=5),
        Condition(name="shared", title="shared start, 25 % flipped", start="shared", prompts=5),
    )

    @property
    def prompts(self) -> int:
        """Of a world, as many as any condition scores."""
        return max(condition.prompts for condition in self.conditions)

    @property
    def counts(self) -> tuple[int, ...]:
        """The values of n that there are responses for, loops left out."""
        spared = self.responses - max(20, round(self.responses * self.policy.loops * 7))
        return tuple(count for count in COUNTS if count <= spared)


FULL = Setup()
SMOKE = Setup(
    worlds=1,
    responses=300,
    members=2,
    pairs=400,
    held_out=100,
    calibration_prompts=10,
    calibration_responses=10,
    training=TrainingSettings(epochs=1),
    conditions=(Condition(name="noisy", title="25 % of labels flipped", prompts=2),),
)
