"""Where the service is, for adapters that a trainer loads without asking."""

import os
from dataclasses import dataclass

from guerdon_client.errors import Refused


@dataclass(frozen=True, slots=True)
class Place:
    """A service's address, the model that is meant, and the key to show."""

    url: str
    model: str
    api_key: str | None = None


def place(url: str | None = None, model: str | None = None, api_key: str | None = None) -> Place:
    """What is given; else ``GUERDON_URL``, ``GUERDON_MODEL`` and ``GUERDON_API_KEY``. Raises Refused without a URL."""
    where = url or os.environ.get("GUERDON_URL")
    if not where:
        raise Refused("invalid", "no service is named: give a url, or set GUERDON_URL", field="url")
    return Place(
        where,
        model or os.environ.get("GUERDON_MODEL") or "default",
        api_key or os.environ.get("GUERDON_API_KEY") or None,
    )
