"""Talks to a Guerdon service."""

from guerdon_client.client import Client
from guerdon_client.errors import GuerdonError

__all__ = ["Client", "GuerdonError"]
