"""Metrics: what the stages report, as Prometheus reads it."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from guerdon.domain.events import (
    BatchDone,
    Bisected,
    CacheLooked,
    Dropped,
    Event,
    Failed,
    MemorySplit,
    QueueChanged,
    Refused,
    Rewarded,
    WorkerDown,
    WorkerUp,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
REWARDS = (-20, -10, -5, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 5, 10, 20)
SPREADS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4)


class Metrics:
    """All series of one service, in a registry of their own. Label values come from fixed sets only."""

    def __init__(self, models: Iterable[str], engines: Mapping[str, int]) -> None:
        """``engines`` gives each engine's number of replicas."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._models = frozenset(models)
        self.registry = registry = CollectorRegistry()
        by_call = ["protocol", "endpoint", "model"]
        self._requests = Counter(
            "guerdon_requests", "Requests answered.", [*by_call, "code"], registry=registry
        )  # fmt: skip
        self._duration = Histogram(
            "guerdon_request_duration_seconds", "Time from a request's arrival to its answer.",
            by_call, buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._stage = Histogram(
            "guerdon_stage_duration_seconds", "Time of a request in one stage.",
            ["stage"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._inflight = Gauge("guerdon_inflight_requests", "Requests being answered.", registry=registry)
        self.ready = Gauge("guerdon_ready", "1 while every engine has a worker that can run.", registry=registry)
        self._stages_of_work(registry)
        self._results(registry)
        info = Gauge("guerdon_build_info", "The running version.", ["version"], registry=registry)
        info.labels(version("guerdon")).set(1)
        self._start_at_zero(engines)

    def _start_at_zero(self, engines: Mapping[str, int]) -> None:
        """Have every series from the start: a first fault must show as a step, and its absence as 0."""
        for engine, replicas in engines.items():
            self.record(QueueChanged(engine, 0, 0))
            for reason in ("disconnect", "deadline"):
                self._dropped.labels(engine, reason)
            for reason in ("died", "hung", "failed_to_load", "closed"):
                self._worker_ends.labels(engine, reason)
            self._rejections.labels(engine, "queue_full")
            for series in (self._bisects, self._memory_splits, self._tokens, self._computed):
                series.labels(engine)
            for replica in range(replicas):
                self._worker_up.labels(engine, str(replica)).set(0)
        self.record(CacheLooked(0, 0, 0, 0))
        for model in self._models:
            self._responses.labels(model, "ok")
            self._nonfinite.labels(model)

    def _stages_of_work(self, registry: CollectorRegistry) -> None:
        engine = ["engine"]
        self._queue_items = Gauge("guerdon_queue_items", "Queries waiting for a worker.", engine, registry=registry)
        self._queue_tokens = Gauge("guerdon_queue_tokens", "Tokens waiting for a worker.", engine, registry=registry)
        self._dropped = Counter(
            "guerdon_dropped_items", "Queries that left the queue uncomputed.", ["engine", "reason"], registry=registry
        )
        self._rejections = Counter(
            "guerdon_rejections", "Queries refused at the queue.", ["engine", "reason"], registry=registry
        )
        self._batch_items = Histogram(
            "guerdon_batch_items", "Queries in a batch.", engine, buckets=ITEMS, registry=registry
        )
        self._batch_tokens = Histogram(
            "guerdon_batch_tokens", "Tokens asked in a batch.", engine, buckets=TOKENS, registry=registry
        )
        self._batch_seconds = Histogram(
            "guerdon_batch_duration_seconds", "Time a worker needed for a batch.",
            engine, buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._tokens = Counter("guerdon_tokens", "Tokens asked of the engine.", engine, registry=registry)
        self._computed = Counter(
            "guerdon_computed_tokens", "Tokens the engine computed: padding included, a shared prefix once.",
            engine, registry=registry,
        )  # fmt: skip
        self._bisects = Counter(
            "guerdon_poison_bisects", "Batches halved because one query spoiled them.", engine, registry=registry
        )
        self._memory_splits = Counter(
            "guerdon_memory_splits", "Batches halved because memory did not suffice.", engine, registry=registry
        )
        self._worker_up = Gauge(
            "guerdon_worker_up", "1 while the worker can run.", ["engine", "replica"], registry=registry
        )
        self._worker_ends = Counter(
            "guerdon_worker_ends", "Workers that went down.", ["engine", "reason"], registry=registry
        )
        self._cache = Counter("guerdon_cache_requests", "Cache look-ups.", ["tier", "result"], registry=registry)
        self._cache_bytes = Gauge("guerdon_cache_bytes", "Bytes in the in-process cache.", ["tier"], registry=registry)

    def _results(self, registry: CollectorRegistry) -> None:
        self._responses = Counter(
            "guerdon_items", "Responses rewarded, or failed with a code.", ["model", "outcome"], registry=registry
        )
        self._nonfinite = Counter(
            "guerdon_nonfinite_scores", "Responses whose score was not finite.", ["model"], registry=registry
        )
        self._reward = Histogram("guerdon_reward", "Rewards given.", ["model"], buckets=REWARDS, registry=registry)
        self._disagreement = Histogram(
            "guerdon_ensemble_disagreement", "Standard deviation of the members on a response.",
            ["model"], buckets=SPREADS, registry=registry,
        )  # fmt: skip

    def record(self, event: Event) -> None:
        """Count one event."""
        match event:
            case QueueChanged(engine, items, tokens):
                self._queue_items.labels(engine).set(items)
                self._queue_tokens.labels(engine).set(tokens)
            case Rewarded(model, reward, std):
                self._responses.labels(model, "ok").inc()
                self._reward.labels(model).observe(reward)
                if std is not None:
                    self._disagreement.labels(model).observe(std)
            case Failed(model, code):
                self._responses.labels(model, code).inc()
                if code == "non_finite":
                    self._nonfinite.labels(model).inc()
            case CacheLooked(hits, misses, coalesced, stored_bytes):
                for result, count in (("hit", hits), ("miss", misses), ("coalesced", coalesced)):
                    self._cache.labels("memory", result).inc(count)
                self._cache_bytes.labels("memory").set(stored_bytes)
            case _:
                self._record_work(event)

    def _record_work(self, event: Event) -> None:
        match event:
            case BatchDone(engine, items, tokens, computed, seconds):
                self._batch_items.labels(engine).observe(items)
                self._batch_tokens.labels(engine).observe(tokens)
                self._batch_seconds.labels(engine).observe(seconds)
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
            case WorkerUp(engine, replica):
                self._worker_up.labels(engine, str(replica)).set(1)
            case WorkerDown(engine, replica, reason):
                self._worker_up.labels(engine, str(replica)).set(0)
                self._worker_ends.labels(engine, reason).inc()

    def arrived(self) -> None:
        """Count a request that begins."""
        self._inflight.inc()

    def request(self, endpoint: str, model: str, code: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count one HTTP request that ended. A model that is not served is labelled ``other``."""
        self._inflight.dec()
        known = model if model in self._models else "other" if model else ""
        self._requests.labels("http", endpoint, known, str(code)).inc()
        self._duration.labels("http", endpoint, known).observe(seconds)
        for stage, stage_seconds in stages.items():
            self._stage.labels(stage).observe(stage_seconds)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
