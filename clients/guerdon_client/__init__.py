"""Talks to a Guerdon service."""

from guerdon_client.async_client import AsyncClient
from guerdon_client.client import Client
from guerdon_client.errors import (
    Busy,
    Failed,
    GuerdonError,
    Refused,
    TimedOut,
    Unauthorized,
    UnknownModel,
    Unreachable,
)
from guerdon_client.results import (
    Comparison,
    ModelCard,
    Ranked,
    RerankResult,
    ResponseProblem,
    ScoreBatch,
    ScoreResult,
    Strength,
    Usage,
)
from guerdon_client.retries import Retries

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "Comparison",
    "Failed",
    "GuerdonError",
    "ModelCard",
    "Ranked",
    "Refused",
    "RerankResult",
    "ResponseProblem",
    "Retries",
    "ScoreBatch",
    "ScoreResult",
    "Strength",
    "TimedOut",
    "Unauthorized",
    "UnknownModel",
    "Unreachable",
    "Usage",
]
