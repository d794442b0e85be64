"""What is set about stores of scores."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from guerdon.domain.strict import Strict

SCHEMES = ("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(given: Any) -> Any:
    written = re.fullmatch(r"(\d+)([smhd])", given) if isinstance(given, str) else None
    if written is None:
        raise ValueError("a duration is needed, such as 30s, 15m, 12h or 7d")
    try:
        return timedelta(**{_UNITS[written[2]]: int(written[1])})
    except OverflowError as error:
        raise ValueError("so long a time cannot be counted") from error


Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]


class RedisSettings(Strict):
    """A Redis that several services share. While it is out, scores are computed without it."""

    url: SecretStr = Field(description=f"one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    username: str | None = Field(None, description="an ACL user; may stand in the URL")
    password_file: str | None = Field(None, description="holds the password; it may also stand in the URL")
    tls_ca_file: str | None = Field(None, description="who signs the server's certificate")
    timeout_ms: float = Field(50, gt=0, le=10_000, description="longer than this, no request waits for it")
    probe_s: float = Field(1.0, gt=0, le=3600, description="how often one that was out is tried again")
    ttl: Duration = Field(timedelta(days=7), description="how long a score is kept; give or take a tenth")
    claim_s: float = Field(
        10.0, ge=0, le=3600, description="how long another service's computation is waited for; 0: not at all"
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: SecretStr) -> SecretStr:
        scheme, found, rest = url.get_secret_value().partition("://")
        if not found or scheme not in SCHEMES or not rest:
            raise ValueError(f"a URL is needed that begins with one of {', '.join(f'{one}://' for one in SCHEMES)}")
        return url

    @field_validator("ttl")
    @classmethod
    def _some_time(cls, ttl: timedelta) -> timedelta:
        if ttl < timedelta(seconds=1):
            raise ValueError("at least 1s")
        return ttl
