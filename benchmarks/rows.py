"""Turns measured rounds into the figures that are reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.arithmetic import flops, tokens
from benchmarks.models import SHAPES
from benchmarks.stage import Round, StageResult
from benchmarks.texts import Group
from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of several rounds: each one's value in their order, and the median between the least and the most."""

    median: float
    least: float
    most: float
    rounds: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """At least one value."""
        return cls(median=median(values), least=min(values), most=max(values), rounds=list(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One system on one workload.

    ``ahead`` is how many times as many sequences a second the workload's first system does. ``share`` is that of
    the matrix rate in ``share_of``, counting only the arithmetic that is left when prompts are shared; None where
    nothing is computed. ``computed`` is tokens computed, divided by those to compute if every shared prompt is
    computed once.
    ``others_cores`` is how many cores other processes used meanwhile.
    """

    workload: str
    title: str
    system: str
    dtype: str
    requests: int
    sequences: int
    sequences_per_s: Spread
    tokens_per_s: Spread
    p50_s: float
    p99_s: float
    ahead: float | None
    share: float | None
    share_of: str
    computed: float | None
    largest_difference: float | None
    others_cores: Spread


def rows(result: StageResult, workload: Workload) -> list[Row]:
    """The figures of one workload, in the order of its systems; those that did not run are left out."""
    found = {
        name: result.rounds[workload.name, name] for name in workload.systems if (workload.name, name) in result.rounds
    }
    first = next(iter(workload.systems))
    lead = _rate(found[first]).median if first in found else None
    return [_row(result, workload, name, rounds, lead) for name, rounds in found.items()]


def _row(result: StageResult, workload: Workload, name: str, rounds: list[Round], lead: float | None) -> Row:
    latencies = sorted(latency for one in rounds for latency in one.latencies_s)
    rate = _rate(rounds)
    return Row(
        workload=workload.name,
        title=workload.title,
        system=name,
        dtype=result.stage.dtype,
        requests=len(rounds[0].groups),
        sequences=_sequences(rounds[0]),
        sequences_per_s=rate,
        tokens_per_s=Spread.of([sum(group.tokens for group in one.groups) / one.seconds for one in rounds]),
        p50_s=_quantile(latencies, 0.5),
        p99_s=_quantile(latencies, 0.99),
        ahead=lead / rate.median if lead else None,
        share=_share(result, name, rounds) if workload.repeats == 1 else None,
        share_of=_rated_dtype(result),
        computed=_computed(result, rounds) if workload.repeats == 1 else None,
        largest_difference=result.largest_difference.get(name),
        others_cores=Spread.of([one.others_cores for one in rounds]),
    )


def _rate(rounds: list[Round]) -> Spread:
    return Spread.of([_sequences(one) / one.seconds for one in rounds])


def _sequences(one: Round) -> int:
    return sum(len(group.responses) for group in one.groups)


def _share(result: StageResult, name: str, rounds: list[Round]) -> float:
    shape = SHAPES[result.stage.model]
    models = 5 if name == "five-models" else 1
    rates = [models * flops(shape, _joined(one)) / one.seconds for one in rounds]
    return median(rates) / result.rates[_rated_dtype(result)]


def _rated_dtype(result: StageResult) -> str:
    """The dtype whose matrix rate counts: a half-precision model may be computed in float32 where that is faster."""
    return max((result.stage.dtype, "float32"), key=lambda dtype: result.rates[dtype])


def _computed(result: StageResult, rounds: list[Round]) -> float | None:
    shape = SHAPES[result.stage.model]
    pairs = [(one.computed_tokens, tokens(shape, _joined(one))) for one in rounds if one.computed_tokens]
    return median(computed / least for computed, least in pairs) if pairs else None


def _joined(one: Round) -> list[Group]:
    """Groups with the same prompt as one group, however they were sent."""
    by_prompt: dict[str, Group] = {}
    for group in one.groups:
        known = by_prompt.get(group.prompt)
        by_prompt[group.prompt] = group if known is None else known.with_more(group)
    return list(by_prompt.values())


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
