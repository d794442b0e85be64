"""What a service says when it gives no reward."""

from collections.abc import Mapping
from typing import Any


class GuerdonError(Exception):
    """The service refused, or could not be reached. ``status`` is 0 where there was no answer at all."""

    def __init__(self, code: str, message: str, *, status: int = 0, field: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.field = code, message, status, field


def error_of(status: int, body: Any) -> GuerdonError:
    """The error that an answer carries."""
    described = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(described, Mapping):
        return GuerdonError(
            str(described.get("code")),
            str(described.get("message")),
            status=status,
            field=described.get("field"),
        )
    return GuerdonError("not_guerdon", f"HTTP {status} from something that is no Guerdon service", status=status)
