"""Where the service is, for adapters that a trainer loads without asking."""

import math
import os
from dataclasses import dataclass

from guerdon_client.addresses import scheme_of
from guerdon_client.errors import Refused
from guerdon_client.retries import Retries

TIMEOUT_S = 600.0
"""Longer than any of the trainers waits for a reward server of its own (verl: about 330 seconds)."""
ANY_NUMBER = Retries()


@dataclass(frozen=True, slots=True)
class Place:
    """A service's address, the model that is meant, the key to show, and the patience with it."""

    url: str
    model: str
    api_key: str | None = None
    timeout_s: float = TIMEOUT_S
    retries: Retries = ANY_NUMBER


def place(
    url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    *,
    timeout_s: float | None = None,
    retries: Retries | None = None,
) -> Place:
    """What is given; else ``GUERDON_URL``, ``_MODEL``, ``_API_KEY``, ``_TIMEOUT_S`` and ``_ATTEMPTS``.

    Raises Refused without a URL; ValueError or TypeError where something cannot be used.
    """
    where = url or os.environ.get("GUERDON_URL")
    if not where:
        raise Refused("invalid", "no service is named: give a url, or set GUERDON_URL", field="url")
    scheme_of(where)
    if not isinstance(retries, Retries | None):
        raise TypeError(f"retries: Retries(attempts=...) is needed, not {retries!r}")
    return Place(
        where,
        model or os.environ.get("GUERDON_MODEL") or "default",
        api_key or os.environ.get("GUERDON_API_KEY") or None,
        _seconds(os.environ.get("GUERDON_TIMEOUT_S") or TIMEOUT_S) if timeout_s is None else _seconds(timeout_s),
        _attempts(os.environ.get("GUERDON_ATTEMPTS")) if retries is None else retries,
    )


def _seconds(given: float | str) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"timeout_s (GUERDON_TIMEOUT_S): {given!r} is no number of seconds above 0")
    return seconds


def _attempts(given: str | None) -> Retries:
    if not given:
        return ANY_NUMBER
    if not (given.isdecimal() and int(given)):
        raise ValueError(f"GUERDON_ATTEMPTS: {given!r} is no number above 0")
    return Retries(attempts=int(given))
