"""The configuration as people write it."""

from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, field_validator, model_validator

from guerdon.aggregation import Aggregation
from guerdon.batching.budget import BatchSettings
from guerdon.cache.settings import RedisSettings
from guerdon.domain.caller import DEFAULT_TENANT
from guerdon.domain.compatible import CompatibleSettings
from guerdon.domain.grpc_settings import GrpcSettings
from guerdon.domain.limits import Limits
from guerdon.domain.strict import Strict
from guerdon.scorers.settings import AnyScorer
from guerdon.workers.settings import WorkerSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80)]
"""Of a scorer or an ensemble. A dot stands between a scorer and its head, so names have none."""


class EnsembleSettings(Strict):
    """Members that are rewarded together. Those of different scale need a calibration."""

    members: list[str] = Field(min_length=1)
    aggregation: Aggregation = Aggregation()
    calibration: Literal["required", "none"] = "required"
    on_member_failure: Literal["error", "degrade"] = Field(
        "error", description="degrade: a failed member leaves the reward to the others; a request may choose otherwise"
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.members)) != len(self.members):
            raise ValueError("a member is named twice")
        return self


class CacheSettings(Strict):
    """Where scores are kept."""

    l1_bytes: ByteSize = Field(ByteSize(256 << 20), ge=0, description="in this process; 0 keeps none")
    redis: RedisSettings | None = Field(None, description="shared by several services; none where its URL is empty")

    @field_validator("redis", mode="before")
    @classmethod
    def _none_without_url(cls, given: Any) -> Any:
        return None if isinstance(given, dict) and given.get("url", given) in (None, "") else given


class KeySettings(Strict):
    """A key that callers show as `Authorization: Bearer KEY`, and whom it makes them."""

    sha256_file: str = Field(description="holds the key's SHA-256 in hexadecimal digits, as `sha256sum` prints it")
    tenant: Name = Field(DEFAULT_TENANT, description="callers of one tenant share stored scores")


class Config(Strict):
    """One configuration file."""

    scorers: dict[Name, AnyScorer] = Field(min_length=1)
    ensembles: dict[Name, EnsembleSettings] = Field({})
    aliases: dict[str, str] = Field({}, description="further names of models, as clients may be bound to send them")
    calibration_file: str | None = Field(None, description="what `guerdon calibrate` wrote")
    cache: CacheSettings = CacheSettings()
    keys: dict[Name, KeySettings] = Field({}, description="who may call; without any, everybody")
    limits: Limits = Limits()
    compatible: CompatibleSettings = CompatibleSettings()
    grpc: GrpcSettings = GrpcSettings()
    batching: BatchSettings = BatchSettings()
    workers: WorkerSettings = WorkerSettings()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        both = set(self.scorers) & set(self.ensembles)
        if both:
            raise ValueError(f"both a scorer and an ensemble are named {', '.join(sorted(both))}")
        return self
