"""Which addresses a service may have."""

from typing import Literal

Scheme = Literal["http", "https", "grpc", "grpcs"]


def scheme_of(url: str) -> Scheme:
    """What the address begins with. Raises ValueError where that is nothing that a service is asked over."""
    match url.partition("://")[0].lower() if "://" in url else "":
        case "http" | "https" | "grpc" | "grpcs" as scheme:
            return scheme
    raise ValueError(f"{url}: an address begins with http://, https://, grpc:// or grpcs://, as http://127.0.0.1:8000")
