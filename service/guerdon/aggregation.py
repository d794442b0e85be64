"""Combines the calibrated scores of an ensemble's members into rewards. Numbers in, numbers out.

``rows[i][m]`` is what member m says of response i of one input. Most methods look at one response at a time; those in
`SET_WISE` compare an input's responses with each other.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from guerdon.domain.strict import Strict

Method = Literal[
    "mean", "median", "wco", "uwo", "lcb", "quantile", "cvar", "weighted", "direction", "capped", "maxmin",
    "borda", "rank_mean", "pareto", "pareto_rank",
]  # fmt: skip
SET_WISE = frozenset({"borda", "rank_mean", "pareto", "pareto_rank"})
"""Methods whose rewards depend on the other responses of the input, and mean nothing for one alone."""
NEEDED: Mapping[str, str] = {"weighted": "weights", "direction": "weights", "capped": "caps", "maxmin": "groups"}
"""What a method cannot do without."""
USED: Mapping[str, frozenset[str]] = {
    "uwo": frozenset({"coefficient"}),
    "lcb": frozenset({"coefficient"}),
    "quantile": frozenset({"level"}),
    "cvar": frozenset({"level"}),
    "weighted": frozenset({"weights"}),
    "direction": frozenset({"weights"}),
    "capped": frozenset({"caps", "weights"}),
    "maxmin": frozenset({"groups"}),
}
"""What a method makes use of, besides ``ddof``, which is that of the reported standard deviation, too."""
PARAMETERS = ("coefficient", "level", "weights", "groups", "caps")
UWO_COEFFICIENT, LEVEL = 0.5, 0.25

Weight = Annotated[float, Field(ge=-1e6, le=1e6)]
Row = Sequence[float]
PointWise = Callable[[Row], float]


class Aggregation(Strict):
    """How members become a reward; what is left out is the method's own default.

    ``coefficient`` is the lambda of uwo (default 0.5) or the k of lcb (default: the largest that is monotone).
    ``ddof`` is 0 for the population's variance (the best-of-n experiments of arXiv 2310.02743) or 1 for the
    sample's (its PPO runs). ``level`` (default 0.25) is which quantile, or the share of members that cvar looks at.
    ``weights`` are by member, for weighted (every member), direction and capped (those left out weigh 0 and 1).
    ``groups`` are lists of members, ``caps`` the members' proxy points.
    """

    method: Method = "uwo"
    coefficient: float | None = Field(None, ge=0, le=1000)
    ddof: Literal[0, 1] = 0
    level: float | None = Field(None, ge=0, le=1)
    weights: dict[str, Weight] | None = Field(None, min_length=1)
    groups: dict[str, Annotated[list[str], Field(min_length=1)]] | None = Field(None, min_length=1)
    caps: dict[str, float] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        used = USED.get(self.method, frozenset())
        for name in PARAMETERS:
            if getattr(self, name) is not None and name not in used:
                raise ValueError(f"{self.method} has no use for {name}")
        needed = NEEDED.get(self.method)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.method} needs {needed}")
        if self.method == "cvar" and self.level == 0:
            raise ValueError("the level of cvar is above 0; the minimum alone is wco")
        if self.weights is not None and not any(self.weights.values()):
            raise ValueError(f"{self.method} needs a weight that is not 0")
        if any(len(set(group)) < len(group) for group in (self.groups or {}).values()):
            raise ValueError("groups: a group names a member twice")
        return self

    def told(self) -> dict[str, object]:
        """What was used, as callers are told."""
        return {"method": self.method, **self.parameters(), "ddof": self.ddof}

    def parameters(self) -> dict[str, Any]:
        """What is given of what only some methods use."""
        return {name: getattr(self, name) for name in PARAMETERS if getattr(self, name) is not None}

    def fitted(self, members: Sequence[str]) -> "Aggregation":
        """For these members, with nothing left out. Raises Misfit for members that there are not, and the like."""
        for name in ("weights", "caps"):
            self._check_known(name, getattr(self, name) or {}, members)
        for group in (self.groups or {}).values():
            self._check_known("groups", group, members)
        match self.method:
            case "uwo" if self.coefficient is None:
                return self.model_copy(update={"coefficient": UWO_COEFFICIENT})
            case "lcb":
                return self.model_copy(update={"coefficient": self._bounded(len(members))})
            case "quantile" | "cvar" if self.level is None:
                return self.model_copy(update={"level": LEVEL})
            case "weighted":
                self._check_all("weights", self.weights or {}, members)
            case "maxmin":
                self._check_all("groups", [name for group in (self.groups or {}).values() for name in group], members)
        return self

    def _bounded(self, members: int) -> float:
        """The k of lcb. Raises Misfit where more from a member could mean less reward."""
        most = monotone_coefficient(members, self.ddof)
        if self.coefficient is None:
            return most if math.isfinite(most) else 0.0
        if self.coefficient > most * (1 + 1e-12):
            raise Misfit(
                "coefficient",
                f"at most {most:.4g} for {members} members (ddof {self.ddof}): "
                "above that, a higher score of one member could lower the reward",
            )
        return self.coefficient

    @staticmethod
    def _check_known(where: str, named: "Sequence[str] | Mapping[str, float]", members: Sequence[str]) -> None:
        for name in named:
            if name not in members:
                raise Misfit(where, f"there is no member {name}; members: {', '.join(members)}")

    @staticmethod
    def _check_all(where: str, named: "Sequence[str] | Mapping[str, float]", members: Sequence[str]) -> None:
        lacking = [name for name in members if name not in named]
        if lacking:
            raise Misfit(where, f"every member is needed; left out: {', '.join(lacking)}")


class Misfit(ValueError):
    """A parameter does not go with an ensemble's members."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


class Calibration(Strict):
    """A member's stored mean and standard deviation, measured once on known data."""

    mean: float
    std: float = Field(gt=0)

    def apply(self, score: float) -> float:
        """The z-score: 0 is an average response, 1 is one standard deviation better."""
        return (score - self.mean) / self.std


def aggregate(rows: Sequence[Row], how: Aggregation, members: Sequence[str]) -> list[float]:
    """The rewards of an input's responses. ``how`` must be `fitted` to the members.

    What no float can hold comes out as an infinity, never as NaN.
    """
    if any(len(row) != len(members) or not row for row in rows):
        raise ValueError("one score of each member is needed, and one member at least")
    if how.method in SET_WISE:
        return _set_wise(rows, how.method)
    one = _point_wise(how, members)
    return [_held(one, row) for row in rows]


def aggregate_degraded(rows: Sequence[Sequence[float | None]], how: Aggregation, members: Sequence[str]) -> list[float]:
    """The same where members are missing (None), at least one a row being there.

    The smaller of two: the aggregate of the members that answered, and the aggregate of all, each missing one taken
    to have said what the least favourable of the others did: the lowest score, or the highest if its weight is below 0.
    """
    weights = how.weights or {}
    least_favourable = [max if weights.get(name, 0.0) < 0 else min for name in members]
    filled = []
    for row in rows:
        there = [value for value in row if value is not None]
        filled.append(
            [worst(there) if value is None else value for value, worst in zip(row, least_favourable, strict=True)]
        )
    cautious = aggregate(filled, how, members)
    if how.method in SET_WISE:
        whole = [m for m in range(len(members)) if all(row[m] is not None for row in rows)]
        if not whole:
            return cautious
        answered = aggregate([[row[m] for m in whole] for row in filled], how, [members[m] for m in whole])
        return list(map(min, answered, cautious))
    rewards = []
    for row, floor in zip(rows, cautious, strict=True):
        answers = [(name, value) for name, value in zip(members, row, strict=True) if value is not None]
        one = _point_wise(how, [name for name, _ in answers])
        rewards.append(min(floor, _held(one, [value for _, value in answers])))
    return rewards


def variance(values: Row, ddof: int) -> float:
    """The members' variance; 0 for a single member, whatever the ddof."""
    if len(values) < 2:
        return 0.0
    try:
        mean = fmean(values)
    except OverflowError:
        return math.inf
    return math.fsum((value - mean) * (value - mean) for value in values) / (len(values) - ddof)


def std(values: Row, ddof: int) -> float:
    """The members' standard deviation; 0 for a single member."""
    return math.sqrt(variance(values, ddof))


def monotone_coefficient(members: int, ddof: int) -> float:
    """The largest k for which mean - k * std never falls when one of the members' scores rises.

    A score's standardised distance from the mean is at most sqrt(n - 1) (Samuelson 1968), (n - 1) / sqrt(n) with
    ddof 1, and the derivative of mean - k * std in that score is 1 / n - k * distance / (n - ddof).
    """
    if members < 2:
        return math.inf
    return 1 / math.sqrt(members if ddof else members - 1)


def _held(one: PointWise, row: Row) -> float:
    try:
        return one(row)
    except (OverflowError, ValueError):  # of fsum, whose sum is too large, or of infinities of both signs
        return math.inf


def _point_wise(how: Aggregation, members: Sequence[str]) -> PointWise:
    """A function of one response's scores, in the order of the members, which may be some of those fitted to.

    Those that tell members apart are `_named`.

    mean, median; wco: the minimum; uwo: mean - coefficient * variance (arXiv 2310.02743, section 3.2).
    lcb: mean - coefficient * standard deviation, a lower confidence bound.
    quantile: of the members, linear between them. cvar: the mean of the lowest share ``level`` of them (conditional
    value at risk; Rockafellar and Uryasev 2000), a member on the edge counting in part.
    """
    coefficient, level, ddof = how.coefficient or 0.0, how.level or 0.0, how.ddof
    match how.method:
        case "mean":
            return fmean
        case "median":
            return median
        case "wco":
            return min
        case "uwo":
            return lambda row: fmean(row) - (coefficient * variance(row, ddof) if coefficient else 0.0)
        case "lcb":
            return lambda row: fmean(row) - (coefficient * std(row, ddof) if coefficient else 0.0)
        case "quantile":
            return lambda row: _quantile(row, level)
        case "cvar":
            return lambda row: _cvar(row, level)
        case _:
            return _named(how, members)


def _named(how: Aggregation, members: Sequence[str]) -> PointWise:
    """The methods that tell members apart.

    weighted: sum of weight * score. direction: the same with weights of length 1 (directional preference alignment,
    arXiv 2402.18571). capped: sum of weight * min(score, cap), no score counting beyond its proxy point (after
    constrained RLHF, arXiv 2310.04373). maxmin: the least content group's mean (MaxMin-RLHF, arXiv 2402.08925; the
    max is the trainer's, and where it is over expected rewards, the members are told to compute them from).
    """
    given = how.weights or {}
    if how.method == "maxmin":
        groups = _indexes(how.groups or {}, members)
        return lambda row: min(fmean([row[m] for m in group]) for group in groups)
    if how.method == "capped":
        weights = [given.get(name, 1.0) for name in members]
        caps = [(how.caps or {}).get(name, math.inf) for name in members]
        return lambda row: _weighted(weights, list(map(min, row, caps)))
    length = math.hypot(*given.values()) if how.method == "direction" else 1.0
    weights = [given.get(name, 0.0) / length for name in members]
    return lambda row: _weighted(weights, row)


def _weighted(weights: Row, row: Row) -> float:
    return math.fsum(weight * score for weight, score in zip(weights, row, strict=True) if weight)


def _indexes(groups: Mapping[str, Sequence[str]], members: Sequence[str]) -> list[list[int]]:
    """The groups as places in a row; those of which nobody is there are left out."""
    found = [[members.index(name) for name in group if name in members] for group in groups.values()]
    return [group for group in found if group]


def _quantile(row: Row, level: float) -> float:
    ordered = sorted(row)
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    part = place - below
    return ordered[below] if not part else ordered[below] * (1 - part) + ordered[below + 1] * part


def _cvar(row: Row, level: float) -> float:
    ordered = sorted(row)
    count = level * len(ordered)
    if count <= 1:
        return ordered[0]
    whole = min(math.floor(count), len(ordered) - 1)
    return math.fsum([*ordered[:whole], (count - whole) * ordered[whole]]) / count


def _set_wise(rows: Sequence[Row], method: str) -> list[float]:
    """Rewards by comparison.

    borda: the number of responses that a response beats, a tie counting half, averaged over the members (k judges
    rank m responses: m - rank). rank_mean: the same as a share of the others, between 0 and 1.
    pareto: dominated responses get 0, the others the members' mean (Parrot, ECCV 2024): for rewards above 0.
    pareto_rank: 0 for those that none dominates, -1 for those that only these dominate, and so on.
    """
    match method:
        case "borda":
            return _borda(rows)
        case "rank_mean":
            others = max(1, len(rows) - 1)
            return [points / others for points in _borda(rows)]
        case "pareto":
            fronts = pareto_fronts(rows)
            return [_held(fmean, row) if front == 0 else 0.0 for row, front in zip(rows, fronts, strict=True)]
        case "pareto_rank":
            return [-float(front) for front in pareto_fronts(rows)]
    raise AssertionError(method)


def _borda(rows: Sequence[Row]) -> list[float]:
    points = [_beaten(column) for column in zip(*rows, strict=True)]
    return [fmean(of_response) for of_response in zip(*points, strict=True)]


def _beaten(column: Row) -> list[float]:
    """For each of a member's scores, how many of the others are lower, equal ones counting half."""
    ordered = sorted(column)
    return [(bisect_left(ordered, score) + bisect_right(ordered, score) - 1) / 2 for score in column]


def pareto_fronts(rows: Sequence[Row]) -> list[int]:
    """The number of each response's front: 0 where no other dominates it, 1 where only those of front 0 do, ...

    One dominates another if no member scores it lower, and some member higher. Equal ones share a front.
    """
    scores = np.array(rows)
    dominates = np.array([(row >= scores).all(1) & (row > scores).any(1) for row in scores])
    dominators = dominates.sum(0)
    fronts = np.full(len(rows), -1)
    front = 0
    while (fronts < 0).any():
        best = (fronts < 0) & (dominators == 0)
        fronts[best] = front
        dominators = dominators - dominates[best].sum(0)
        front += 1
    found: list[int] = fronts.tolist()
    return found
