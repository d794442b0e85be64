"""Puts the parts together: from a configuration to a service that can be started."""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from guerdon.batching.batched import Batched
from guerdon.cache.cached import Cached
from guerdon.cache.keys import identity
from guerdon.cache.memory import MemoryStore
from guerdon.cache.redis_store import RedisStore, connect
from guerdon.config.calibration import Measured, load_calibration
from guerdon.config.certificates import load_certificates
from guerdon.config.config import Config, EnsembleSettings
from guerdon.config.keys import load_keys
from guerdon.domain.errors import NotServable
from guerdon.domain.grpc_settings import Certificates
from guerdon.domain.ports import Record, Stage
from guerdon.domain.strict import nearest
from guerdon.engines.settings import EngineSettings
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_settings import VllmSettings
from guerdon.ensemble import Member, Model
from guerdon.gateway import Gateway
from guerdon.scorers.judges.settings import JudgeBase
from guerdon.scorers.on_vllm import OnVllm
from guerdon.scorers.plan import plan_scorer
from guerdon.scorers.scorer_plan import Parts, ScorerPlan
from guerdon.telemetry import Metrics
from guerdon.transport.dialect import Desk
from guerdon.transport.native import NativeApi
from guerdon.workers.inline import InlineWorker
from guerdon.workers.process import ProcessWorker
from guerdon.workers.worker import Worker

if TYPE_CHECKING:
    from guerdon.transport.grpc_server import GrpcServer


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine that scorers share: its settings, where it lives, and how often."""

    name: str
    settings: EngineSettings | VllmSettings
    placement: Literal["inline", "process", "server"]
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration comes to: found and checked, but not loaded. Files are named from ``base``."""

    config: Config
    scorers: Mapping[str, ScorerPlan]
    engines: Sequence[EnginePlan]
    engine_of: Mapping[str, str]
    models: Mapping[str, Model]
    tenants: Mapping[bytes, str]
    base: Path
    certificates: Certificates | None


def plan(config: Config, *, base: Path, cache: Path, calibrated: bool = True) -> Plan:
    """Find every checkpoint, and check that what is configured can be served. Raises NotServable.

    Unless ``calibrated``, members are combined as they are, whatever their scales: to measure these.
    """
    if config.cache.redis is not None:
        connect(config.cache.redis, base)  # says what cannot be meant; nothing is connected yet
    if config.grpc.port is not None:
        grpc_server_class()  # says what is not installed
    tenants, certificates = load_keys(config.keys, base), load_certificates(config.grpc.tls, base)
    scorers = {name: plan_scorer(name, s, base=base, cache=cache) for name, s in config.scorers.items()}
    scorers = _with_needs(scorers)
    engines, engine_of = _engines(scorers)
    models = _models(config, scorers, base, calibrated)
    _check_aliases(config.aliases, models)
    return Plan(config, scorers, engines, engine_of, models, tenants, base, certificates)


def _with_needs(scorers: Mapping[str, ScorerPlan]) -> dict[str, ScorerPlan]:
    """Each scorer identified by the one that it needs, too. Raises NotServable where a meta reward model is none."""
    found = dict(scorers)
    for name, scorer in scorers.items():
        if scorer.needs is None:
            continue
        where, meta = f"scorers.{name}.meta", scorers.get(scorer.needs)
        if meta is None:
            near = nearest(scorer.needs, scorers)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(scorers)}"
            raise NotServable(f"{where}: there is no scorer {scorer.needs}; {hint}")
        if isinstance(meta.settings, JudgeBase) or len(meta.heads) != 1:
            raise NotServable(f"{where}: {scorer.needs} is no reward model with one output")
        found[name] = replace(scorer, identity=(*scorer.identity, *meta.identity))
    return found


def grpc_server_class() -> "type[GrpcServer]":
    """The gRPC server; grpc is imported only now."""
    try:
        from guerdon.transport.grpc_server import GrpcServer
    except ModuleNotFoundError as error:
        raise NotServable(f"gRPC needs {error.name}; run: pip install 'guerdon[grpc]'") from error
    return GrpcServer


def _check_aliases(aliases: Mapping[str, str], models: Collection[str]) -> None:
    """Raises NotServable."""
    for alias, name in aliases.items():
        if name not in models and not any(model.startswith(f"{name}.") for model in models):
            near = nearest(name, models)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(models)}"
            raise NotServable(f"aliases.{alias}: there is no model {name}; {hint}")
        if alias in models:
            raise NotServable(f"aliases.{alias}: a model has this name already")


class Service:
    """A planned configuration with its workers, from start to close."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        settings = plan.config.cache.redis
        replicas = {engine.name: engine.replicas for engine in plan.engines}
        judges = [name for name, scorer in plan.scorers.items() if isinstance(scorer.settings, JudgeBase)]
        self.metrics = Metrics(plan.models, replicas, shared=settings is not None, judges=judges)
        record = self.metrics.record
        self._engines = {engine.name: _engine(engine, plan.config, record) for engine in plan.engines}
        self._memory = MemoryStore(int(plan.config.cache.l1_bytes))
        self._shared = None if settings is None else RedisStore(settings, base=plan.base, record=record)
        stages: dict[str, Stage] = {}
        for name, scorer in sorted(plan.scorers.items(), key=lambda item: item[1].needs is not None):
            stages[name] = self._stage(scorer, stages)
        self.gateway = Gateway(plan.models, stages, aliases=plan.config.aliases, record=record)
        self.metrics.ready.set_function(lambda: not self.unready())
        self._was_ready = False

    def _stage(self, scorer: ScorerPlan, others: Mapping[str, Stage]) -> Stage:
        """The scorer behind its cache, unless it may say something else the next time."""
        parts = Parts(
            engine=self._engines[self.plan.engine_of[scorer.name]],
            record=self.metrics.record,
            needed=None if scorer.needs is None else others[scorer.needs],
        )
        built = scorer.build(parts)
        if not scorer.cacheable:
            return built
        return Cached(
            built,
            self._memory,
            identity(scorer.identity),
            record=self.metrics.record,
            name=scorer.name,
            shared=self._shared,
        )

    async def start(self) -> None:
        """Start the workers; returns before they have loaded."""
        if self._shared is not None:
            await self._shared.start()
        for engine in self._engines.values():
            await engine.start()

    async def ready(self) -> None:
        """Wait until every worker can run. Raises NotServable."""
        await asyncio.gather(*(engine.ready() for engine in self._engines.values()))

    def unready(self) -> dict[str, str]:
        """Why an engine cannot run now, by its name; empty when all can."""
        reasons = {name: engine.unready for name, engine in self._engines.items()}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def started(self) -> bool:
        """Whether every engine has been able to run at some time: from then on, requests wait for a restart."""
        self._was_ready = self._was_ready or not self.unready()
        return self._was_ready

    def desk(self) -> Desk:
        """What requests are answered with, whatever carries them."""
        limits = self.plan.config.limits
        return Desk(self.gateway, limits, self.plan.config.compatible, NativeApi(self.gateway, limits))

    def grpc_server(self) -> "GrpcServer":
        """A gRPC server in front of the gateway; to be made in a running event loop. Raises NotServable."""
        return grpc_server_class()(
            self.desk(),
            self.plan.config.grpc,
            self.plan.certificates,
            tenants=self.plan.tenants,
            started=self.started,
            unready=self.unready,
            requests=self.metrics,
        )

    async def close(self) -> None:
        """Stop the workers, and store what waits to be."""
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))
        if self._shared is not None:
            await self._shared.close()


def _engines(scorers: Mapping[str, ScorerPlan]) -> tuple[list[EnginePlan], dict[str, str]]:
    """One engine for all scorers that agree on everything but the adapter; and which scorer has which."""
    alike: dict[tuple[Any, ...], dict[str, EngineSettings]] = {}
    engines: list[EnginePlan] = []
    engine_of: dict[str, str] = {}
    for scorer in scorers.values():
        if isinstance(scorer.engine, VllmSettings):
            _on_server(scorer.name, scorer.engine, engines, engine_of)
            continue
        assert not isinstance(scorer.settings, OnVllm)
        bare = scorer.engine.model_copy(update={"adapters": (), "serves_base": True})
        alike.setdefault((bare, scorer.settings.placement, scorer.settings.replicas), {})[scorer.name] = scorer.engine
    workers = sum(replicas for _, _, replicas in alike)
    for (bare, placement, replicas), sharing in alike.items():
        adapters = {adapter.name: adapter for wanted in sharing.values() for adapter in wanted.adapters}
        settings = bare.model_copy(
            update={
                "adapters": tuple(adapters[name] for name in sorted(adapters)),
                "serves_base": any(wanted.serves_base for wanted in sharing.values()),
                "threads": bare.threads or max(1, _cores() // workers),
            }
        )
        name = next(iter(sharing))
        engines.append(EnginePlan(name, settings, placement, replicas))
        engine_of |= dict.fromkeys(sharing, name)
    return engines, engine_of


def _on_server(name: str, settings: VllmSettings, engines: list[EnginePlan], engine_of: dict[str, str]) -> None:
    """One server for all scorers that agree on it."""
    known = next((engine for engine in engines if engine.settings == settings), None)
    if known is None:
        known = EnginePlan(name, settings, "server", 1)
        engines.append(known)
    engine_of[name] = known.name


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _engine(engine: EnginePlan, config: Config, record: Record) -> Batched | VllmEngine:
    if isinstance(engine.settings, VllmSettings):
        return VllmEngine(engine.settings, name=engine.name, record=record)
    workers = [_worker(engine, replica, config, record) for replica in range(engine.replicas)]
    return Batched(
        workers, config.batching, queue_tokens=config.limits.queue_tokens, name=engine.name, record=record
    )  # fmt: skip


def _worker(engine: EnginePlan, replica: int, config: Config, record: Record) -> Worker:
    assert isinstance(engine.settings, EngineSettings)
    settings = engine.settings.model_copy(update={"replica": replica})
    named: dict[str, Any] = {"name": engine.name, "replica": replica, "record": record}
    if engine.placement == "inline":
        return InlineWorker(_torch_engine(settings), **named)
    return ProcessWorker(settings.model_dump(mode="json"), config.workers, **named)


def _torch_engine(settings: EngineSettings) -> Callable[[], Any]:
    """How to load the engine in this process; torch is imported only now."""
    try:
        from guerdon.engines.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise NotServable(f"this needs {error.name}; run: pip install 'guerdon[torch]'") from error
    return partial(TorchEngine, settings)


def _models(config: Config, scorers: Mapping[str, ScorerPlan], base: Path, calibrated: bool) -> dict[str, Model]:
    """Everything that callers can name: ensembles, scorers, and their heads."""
    measured: Mapping[str, Measured] = {}
    if calibrated and config.calibration_file is not None:
        measured = load_calibration(base / config.calibration_file).members
    singles: dict[str, Model] = {}
    for scorer in scorers.values():
        singles |= _scorer_models(scorer, measured, calibrated)
    ensembles = {
        name: _ensemble(name, settings, singles, config.ensembles, calibrated)
        for name, settings in config.ensembles.items()
    }
    return ensembles | singles


def _scorer_models(scorer: ScorerPlan, measured: Mapping[str, Measured], calibrated: bool) -> dict[str, Model]:
    """The scorer's members, and what its own name means."""
    apart = scorer.settings.kind == "head_ensemble" or len(scorer.heads) > 1
    models: dict[str, Model] = {}
    for index, (head, calibration) in enumerate(scorer.heads.items()):
        name = f"{scorer.name}.{head}" if apart else scorer.name
        member = Member(
            name=name,
            scorer=scorer.name,
            head=index,
            calibration=calibration,
            uses=scorer.uses,
            set_wise=scorer.set_wise,
        )
        models[name] = _calibrated(_single(name, member, scorer), measured.get(name), _says(scorer, head))
    if apart and scorer.only_head is not None:
        if scorer.only_head < 0:
            settings = EnsembleSettings(members=list(models))
            models[scorer.name] = _ensemble(scorer.name, settings, models, (), calibrated)
        else:
            chosen = list(models.values())[scorer.only_head].members[0]
            models[scorer.name] = _single(scorer.name, chosen, scorer)
    return models


def _says(scorer: ScorerPlan, head: str) -> bool:
    """Whether the configuration itself has a calibration for this output."""
    own = scorer.settings.calibration
    return head in own if isinstance(own, dict) else own is not None


def _calibrated(model: Model, measured: Measured | None, says_itself: bool) -> Model:
    """The member with what the calibration file says of it. Raises NotServable where that is of something else."""
    if measured is None:
        return model
    if says_itself:
        raise NotServable(f"calibration_file: {model.name} has a calibration in the configuration as well; keep one")
    if measured.revision != model.revision:
        raise NotServable(
            f"calibration_file: {model.name} was measured as revision {measured.revision}, and is {model.revision} "
            "now; run `guerdon calibrate` again"
        )
    return replace(model, members=(replace(model.members[0], calibration=measured.calibration()),))


def _single(name: str, member: Member, scorer: ScorerPlan) -> Model:
    return Model(
        name=name,
        kind=scorer.settings.kind,
        members=(member,),
        revision=identity((*scorer.identity, str(member.head))).hex()[:16],
        max_tokens=scorer.max_tokens,
    )


def _ensemble(
    name: str,
    settings: EnsembleSettings,
    singles: Mapping[str, Model],
    ensembles: Collection[str],
    calibrated: bool,
) -> Model:
    """Raises NotServable for members that are unknown, or whose scales are not known to agree."""
    where = f"ensembles.{name}"
    for member in settings.members:
        if member not in singles or singles[member].aggregation is not None:
            near = nearest(member, singles)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(singles)}"
            what = "an ensemble itself: name its members" if member in ensembles else f"no scorer or head; {hint}"
            raise NotServable(f"{where}.members: {member} is {what}")
    models = [singles[member] for member in settings.members]
    members = tuple(replace(model.members[0], name=model.name) for model in models)
    if settings.calibration == "none" or not calibrated:
        members = tuple(replace(member, calibration=None) for member in members)
    elif lacking := [member.name for member in members if member.calibration is None]:
        raise NotServable(
            f"{where}: {', '.join(lacking)} has no calibration, so its scale may differ from the others'; "
            "measure it with `guerdon calibrate`, or say `calibration: none` if all members share one scale"
        )
    try:
        aggregation = settings.aggregation.fitted(settings.members)
    except ValueError as error:
        raise NotServable(f"{where}.aggregation: {error}") from error
    limits = [model.max_tokens for model in models if model.max_tokens is not None]
    told = [f"{model.revision}:{member.calibration}" for model, member in zip(models, members, strict=True)]
    return Model(
        name=name,
        kind="ensemble",
        members=members,
        revision=identity(told).hex()[:16],
        aggregation=aggregation,
        degrades=settings.on_member_failure == "degrade",
        max_tokens=min(limits, default=None),
    )
