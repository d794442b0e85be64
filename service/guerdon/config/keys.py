"""Reads the keys that callers may show."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from guerdon.config.config import KeySettings
from guerdon.domain.errors import NotServable


def load_keys(keys: Mapping[str, KeySettings], base: Path) -> dict[bytes, str]:
    """Tenants by the SHA-256 of their keys. Raises NotServable for a file that holds no such thing."""
    tenants: dict[bytes, str] = {}
    for name, settings in keys.items():
        where = f"keys.{name}.sha256_file"
        try:
            words = (base / settings.sha256_file).read_text().split()
            digest = bytes.fromhex(words[0] if words else "")
        except OSError as error:
            raise NotServable(f"{where}: {error.strerror}: {settings.sha256_file}") from error
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise NotServable(f"{where}: no SHA-256 in hexadecimal digits; make one with: printf %s KEY | sha256sum")
        if digest == hashlib.sha256(b"").digest():
            raise NotServable(f"{where}: this is the SHA-256 of no key at all")
        if digest in tenants:
            raise NotServable(f"{where}: another name has the same key")
        tenants[digest] = settings.tenant
    return tenants
