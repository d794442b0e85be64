"""Rewards from the outcomes of an ensemble's members. No I/O."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from guerdon.aggregation import SET_WISE, Aggregation, Calibration, aggregate, aggregate_degraded, std
from guerdon.domain.errors import NonFinite, ServiceError, UnusableField
from guerdon.domain.scores import Outcome, Report

NOBODY: Mapping[str, float] = MappingProxyType({})
NO_ERRORS: Mapping[str, ServiceError] = MappingProxyType({})
NO_REPORTS: Mapping[str, Report] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One head of one scorer, under the name that callers see.

    A ``set_wise`` scorer is asked about all responses of an input at once.
    """

    name: str
    scorer: str
    head: int
    calibration: Calibration | None = None
    uses: frozenset[str] = frozenset()
    set_wise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Something callers can name: a scorer, one of its heads, or an ensemble of members.

    ``aggregation`` is the ensemble's default; None means that the single member's raw score is the reward.
    ``degrades``: a member that fails leaves the reward to the others, unless a request says otherwise.
    """

    name: str
    kind: str
    members: tuple[Member, ...]
    revision: str
    aggregation: Aggregation | None = None
    degrades: bool = False
    max_tokens: int | None = None
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(member.name for member in self.members))

    @property
    def uses(self) -> frozenset[str]:
        """Optional fields of a sample that at least one member makes use of."""
        return frozenset().union(*(member.uses for member in self.members))


class Reward(NamedTuple):
    """What the caller gets for one response. ``std`` and ``members`` only where there is an ensemble.

    ``missing`` are the members that failed, where the reward was left to the others. ``reports`` tell of members how
    their scores came about.
    A tuple, as there is one for every response: a frozen dataclass takes three times as long to make.
    """

    value: float
    std: float | None = None
    members: Mapping[str, float] = NOBODY
    members_raw: Mapping[str, float] = NOBODY
    truncated: bool = False
    cached: bool = False
    tokens: int = 0
    missing: Mapping[str, ServiceError] = NO_ERRORS
    reports: Mapping[str, Report] = NO_REPORTS


def rewards_of(
    model: Model, how: Aggregation | None, rows: Sequence[Sequence[Outcome]], *, degrade: bool = False
) -> list[Reward | ServiceError]:
    """The rewards of one input's responses, or the error that stands in a reward's place.

    ``rows[i]`` are the members' outcomes for response i, in the members' order. A member that failed fails the
    response; with ``degrade``, only where no member answered.
    """
    if how is None:
        return [_single(model.members[0], row[0]) for row in rows]
    told = [_told(model, row, degrade=degrade) for row in rows]
    good = [one for one in told if isinstance(one, Reward)]
    if how.method in SET_WISE and len(good) == 1:
        alone = UnusableField(f"{how.method} compares responses: it needs two at least that can be scored")
        return [alone if isinstance(one, Reward) else one for one in told]
    values = iter(_values(model, how, good))
    return [_completed(one, next(values), how.ddof) if isinstance(one, Reward) else one for one in told]


def _single(member: Member, outcome: Outcome) -> Reward | ServiceError:
    """The member's raw score."""
    if isinstance(outcome, ServiceError):
        return outcome
    return Reward(
        value=outcome.values[0][member.head],
        truncated=outcome.truncated[0],
        cached=outcome.cached,
        tokens=outcome.tokens,
        reports=NO_REPORTS if outcome.report is None else {member.name: outcome.report},
    )


def _told(model: Model, row: Sequence[Outcome], *, degrade: bool) -> Reward | ServiceError:
    """What the members said of one response, its reward still to come; or the error of the first that failed."""
    raw, members, tokens, missing = {}, {}, {}, {}
    reports: dict[str, Report] = {}
    truncated, cached = False, True
    for member, outcome in zip(model.members, row, strict=True):
        if isinstance(outcome, ServiceError):
            if not degrade:
                return outcome
            missing[member.name] = outcome
            continue
        value = outcome.values[0][member.head]
        raw[member.name] = value
        members[member.name] = member.calibration.apply(value) if member.calibration else value
        tokens[member.scorer] = outcome.tokens
        if outcome.report is not None:
            reports[member.name] = outcome.report
        truncated, cached = truncated or outcome.truncated[0], cached and outcome.cached
    if not members:
        return next(iter(missing.values()))
    return Reward(
        value=math.nan, members=members, members_raw=raw, truncated=truncated, cached=cached,
        tokens=sum(tokens.values()), missing=missing or NO_ERRORS, reports=reports or NO_REPORTS,
    )  # fmt: skip


def _values(model: Model, how: Aggregation, told: Sequence[Reward]) -> list[float]:
    if any(one.missing for one in told):
        partly = [[one.members.get(name) for name in model.names] for one in told]
        return aggregate_degraded(partly, how, model.names)
    return aggregate([list(one.members.values()) for one in told], how, model.names) if told else []


def _completed(told: Reward, value: float, ddof: int) -> Reward | ServiceError:
    spread = std(list(told.members.values()), ddof)
    if not (math.isfinite(value) and math.isfinite(spread)):
        return NonFinite("the members' scores are too far apart for their aggregate to be a number")
    return told._replace(value=value, std=spread)
