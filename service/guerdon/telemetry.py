"""Metrics: what the stages report, as Prometheus reads it."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from math import inf
from typing import Any, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from guerdon.domain.events import (
    BatchDone,
    Bisected,
    CacheLooked,
    Dropped,
    Event,
    Failed,
    Judged,
    MemorySplit,
    Missing,
    QueueChanged,
    Refused,
    Rewarded,
    StoreAsked,
    StoreAwaited,
    StoreFailed,
    StoreMoved,
    StoreWrote,
    WorkerDown,
    WorkerUp,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
REWARDS = (-20, -10, -5, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 5, 10, 20)
SPREADS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4)

M = TypeVar("M", Counter, Gauge)


class _Series(Generic[M]):
    """A metric with labels, its children at hand: prometheus_client takes as long to find one as to count with it."""

    def __init__(self, kind: type[M], *about: Any, **more: Any) -> None:
        self._metric: M = kind(*about, **more)
        self._children: dict[tuple[str, ...], M] = {}

    def labels(self, *values: str) -> M:
        """The child with these labels, which exists from then on."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child


class _Histogram(Collector):
    """A histogram with labels for one thread: prometheus_client's own takes locks, eight times as long."""

    def __init__(
        self, name: str, about: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._about, self._labels, self._bounds = name, about, labels, buckets
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value under these labels."""
        if labels not in self._counts:
            self._counts[labels], self._sums[labels] = [0] * (len(self._bounds) + 1), 0.0
        self._counts[labels][bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus reads: each bucket with all below it."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        bounds = [floatToGoString(bound) for bound in (*self._bounds, inf)]  # type: ignore[no-untyped-call]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
            if self._bounds[0] < 0:  # then it leaves out the sum, which may fall, and with it the count
                family.add_sample(f"{self._name}_count", dict(zip(self._labels, labels, strict=True)), sum(counts))
        yield family


class Metrics:
    """All series of one service, in a registry of their own. Label values come from fixed sets only."""

    def __init__(
        self, models: Iterable[str], engines: Mapping[str, int], *, shared: bool = False, judges: Iterable[str] = ()
    ) -> None:
        """``engines`` gives each engine's number of replicas; ``shared``: whether there is a shared cache."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._models = frozenset(models)
        self._queues: dict[str, QueueChanged] = {}
        self.registry = registry = CollectorRegistry()
        by_call = ["protocol", "endpoint", "model"]
        self._requests = _Series(
            Counter, "guerdon_requests", "Requests answered.", [*by_call, "code"], registry=registry
        )  # fmt: skip
        self._duration = _Histogram(
            "guerdon_request_duration_seconds", "Time from a request's arrival to its answer.",
            by_call, buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._stage = _Histogram(
            "guerdon_stage_duration_seconds", "Time of a request in one stage.",
            ["stage"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._inflight = Gauge("guerdon_inflight_requests", "Requests being answered.", registry=registry)
        self.ready = Gauge("guerdon_ready", "1 while every engine has a worker that can run.", registry=registry)
        self._stages_of_work(registry)
        self._stores(registry)
        self._results(registry)
        info = Gauge("guerdon_build_info", "The running version.", ["version"], registry=registry)
        info.labels(version("guerdon")).set(1)
        self._start_at_zero(engines, shared=shared)
        for judge in judges:
            for result in ("valid", "unparsable"):
                self._votes.labels(judge, result)
            for reason in ("content_free", "injection"):
                self._judge_refused.labels(judge, reason)

    def _start_at_zero(self, engines: Mapping[str, int], *, shared: bool) -> None:
        """Have every series from the start: a first fault must show as a step, and its absence as 0."""
        for engine, replicas in engines.items():
            self._watch_queue(engine)
            for reason in ("disconnect", "deadline"):
                self._dropped.labels(engine, reason)
            for reason in ("died", "hung", "failed_to_load", "closed"):
                self._worker_ends.labels(engine, reason)
            self._rejections.labels(engine, "queue_full")
            for series in (self._bisects, self._memory_splits, self._tokens, self._computed):
                series.labels(engine)
            for replica in range(replicas):
                self._worker_up.labels(engine, str(replica)).set(0)
        for result in ("hit", "miss", "coalesced"):
            self._cache.labels("memory", result)
        if shared:
            self._start_shared_at_zero()
        self._cache_bytes.labels("memory")
        for model in self._models:
            self._responses.labels(model, "ok")
            self._nonfinite.labels(model)

    def _start_shared_at_zero(self) -> None:
        for result in ("hit", "miss", "damaged"):
            self._cache.labels("redis", result)
        for result in ("stored", "failed", "dropped"):
            self._cache_writes.labels(result)
        for result in ("delivered", "given_up"):
            self._cache_awaited.labels(result)
        for operation in ("probe", "read", "claim", "write"):
            for kind in ("timeout", "refused", "memory", "connection", "other"):
                self._cache_errors.labels(operation, kind)

    def _watch_queue(self, engine: str) -> None:
        """Queues change several times a request, and are read every few seconds."""
        self._queues[engine] = QueueChanged(engine, 0, 0)
        self._queue_items.labels(engine).set_function(lambda: self._queues[engine].items)
        self._queue_tokens.labels(engine).set_function(lambda: self._queues[engine].tokens)

    def _stages_of_work(self, registry: CollectorRegistry) -> None:
        engine = ["engine"]
        self._queue_items = _Series(
            Gauge, "guerdon_queue_items", "Queries waiting for a worker.", engine, registry=registry
        )
        self._queue_tokens = _Series(
            Gauge, "guerdon_queue_tokens", "Tokens waiting for a worker.", engine, registry=registry
        )
        self._dropped = _Series(
            Counter,
            "guerdon_dropped_items",
            "Queries that left the queue uncomputed.",
            ["engine", "reason"],
            registry=registry,
        )
        self._rejections = _Series(
            Counter, "guerdon_rejections", "Queries refused at the queue.", ["engine", "reason"], registry=registry
        )
        self._batch_items = _Histogram(
            "guerdon_batch_items", "Queries in a batch.", engine, buckets=ITEMS, registry=registry
        )
        self._batch_tokens = _Histogram(
            "guerdon_batch_tokens", "Tokens asked in a batch.", engine, buckets=TOKENS, registry=registry
        )
        self._batch_seconds = _Histogram(
            "guerdon_batch_duration_seconds", "Time a worker needed for a batch.",
            engine, buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._tokens = _Series(Counter, "guerdon_tokens", "Tokens asked of the engine.", engine, registry=registry)
        self._computed = _Series(
            Counter, "guerdon_computed_tokens", "Tokens the engine computed: padding included, a shared prefix once.",
            engine, registry=registry,
        )  # fmt: skip
        self._bisects = _Series(
            Counter,
            "guerdon_poison_bisects",
            "Batches halved because one query spoiled them.",
            engine,
            registry=registry,
        )
        self._memory_splits = _Series(
            Counter,
            "guerdon_memory_splits",
            "Batches halved because memory did not suffice.",
            engine,
            registry=registry,
        )
        self._worker_up = _Series(
            Gauge, "guerdon_worker_up", "1 while the worker can run.", ["engine", "replica"], registry=registry
        )
        self._worker_ends = _Series(
            Counter, "guerdon_worker_ends", "Workers that went down.", ["engine", "reason"], registry=registry
        )

    def _stores(self, registry: CollectorRegistry) -> None:
        self._cache = _Series(
            Counter, "guerdon_cache_requests", "Cache look-ups.", ["tier", "result"], registry=registry
        )
        self._cache_bytes = _Series(
            Gauge, "guerdon_cache_bytes", "Bytes in the in-process cache.", ["tier"], registry=registry
        )

        self._cache_writes = _Series(
            Counter, "guerdon_cache_writes", "Scores sent to the shared cache.", ["result"], registry=registry
        )
        self._cache_awaited = _Series(
            Counter, "guerdon_cache_awaited", "Scores that another service was computing.", ["result"],
            registry=registry,
        )  # fmt: skip
        self._cache_errors = _Series(
            Counter,
            "guerdon_cache_errors",
            "Calls to the shared cache that failed.",
            ["operation", "kind"],
            registry=registry,
        )
        self._cache_out = Gauge(
            "guerdon_cache_out", "1 while the shared cache is left alone because it failed.", registry=registry
        )

    def _results(self, registry: CollectorRegistry) -> None:
        self._responses = _Series(
            Counter,
            "guerdon_items",
            "Responses rewarded, or failed with a code.",
            ["model", "outcome"],
            registry=registry,
        )
        self._nonfinite = _Series(
            Counter, "guerdon_nonfinite_scores", "Responses whose score was not finite.", ["model"], registry=registry
        )
        self._missing = _Series(
            Counter,
            "guerdon_members_missing",
            "Responses rewarded without a member that failed.",
            ["model", "member"],
            registry=registry,
        )
        self._votes = _Series(
            Counter, "guerdon_judge_votes", "Votes of judges: valid, or holding no verdict.", ["scorer", "result"],
            registry=registry,
        )  # fmt: skip
        self._judge_refused = _Series(
            Counter, "guerdon_judge_refused", "Responses that a judge's guard kept from it.", ["scorer", "reason"],
            registry=registry,
        )  # fmt: skip
        self._reward = _Histogram("guerdon_reward", "Rewards given.", ["model"], buckets=REWARDS, registry=registry)
        self._disagreement = _Histogram(
            "guerdon_ensemble_disagreement", "Standard deviation of the members on a response.",
            ["model"], buckets=SPREADS, registry=registry,
        )  # fmt: skip

    def record(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Rewarded(model, rewards, disagreements):
                self._responses.labels(model, "ok").inc(len(rewards))
                for reward in rewards:
                    self._reward.observe(reward, model)
                for std in disagreements:
                    self._disagreement.observe(std, model)
            case QueueChanged(engine):
                self._queues[engine] = event
            case Failed(model, code):
                self._responses.labels(model, code).inc()
                if code == "non_finite":
                    self._nonfinite.labels(model).inc()
            case Missing(model, member, items):
                self._missing.labels(model, member).inc(items)
            case CacheLooked(hits, misses, coalesced, stored_bytes):
                for result, count in (("hit", hits), ("miss", misses), ("coalesced", coalesced)):
                    if count:
                        self._cache.labels("memory", result).inc(count)
                self._cache_bytes.labels("memory").set(stored_bytes)
            case _ if not self._record_store(event):
                self._record_work(event)

    def _record_store(self, event: Event) -> bool:
        """Count what a shared store did; false if the event is of something else."""
        match event:
            case StoreAsked(hits, misses, damaged):
                for result, count in (("hit", hits), ("miss", misses), ("damaged", damaged)):
                    self._cache.labels("redis", result).inc(count)
            case StoreAwaited(delivered, given_up):
                self._cache_awaited.labels("delivered").inc(delivered)
                self._cache_awaited.labels("given_up").inc(given_up)
            case StoreWrote(result, scores):
                self._cache_writes.labels(result).inc(scores)
            case StoreFailed(operation, kind):
                self._cache_errors.labels(operation, kind).inc()
            case StoreMoved(out):
                self._cache_out.set(out)
            case _:
                return False
        return True

    def _record_work(self, event: Event) -> None:
        match event:
            case BatchDone(engine, items, tokens, computed, seconds):
                self._batch_items.observe(items, engine)
                self._batch_tokens.observe(tokens, engine)
                self._batch_seconds.observe(seconds, engine)
                self._tokens.labels(engine).inc(tokens)
                self._computed.labels(engine).inc(computed)
            case Dropped(engine, reason, items):
                self._dropped.labels(engine, reason).inc(items)
            case Refused(engine, reason, items):
                self._rejections.labels(engine, reason).inc(items)
            case Bisected(engine):
                self._bisects.labels(engine).inc()
            case MemorySplit(engine):
                self._memory_splits.labels(engine).inc()
            case Judged(scorer, votes, valid, refused):
                self._votes.labels(scorer, "valid").inc(valid)
                self._votes.labels(scorer, "unparsable").inc(votes - valid)
                for why in refused:
                    self._judge_refused.labels(scorer, why).inc()
            case WorkerUp(engine, replica):
                self._worker_up.labels(engine, str(replica)).set(1)
            case WorkerDown(engine, replica, reason):
                self._worker_up.labels(engine, str(replica)).set(0)
                self._worker_ends.labels(engine, reason).inc()

    def arrived(self) -> None:
        """Count a request that begins."""
        self._inflight.inc()

    def request(
        self, endpoint: str, model: str, code: int, seconds: float, stages: Mapping[str, float],
        *, protocol: str = "http",
    ) -> None:  # fmt: skip
        """Count one request that ended. A model that is not served is labelled ``other``."""
        self._inflight.dec()
        known = model if model in self._models else "other" if model else ""
        self._requests.labels(protocol, endpoint, known, str(code)).inc()
        self._duration.observe(seconds, protocol, endpoint, known)
        for stage, stage_seconds in stages.items():
            self._stage.observe(stage_seconds, stage)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
