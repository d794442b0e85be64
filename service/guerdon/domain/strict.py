"""The base of everything that people write by hand: settings, and the bodies of requests."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """Frozen, and an unknown key is an error that names the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key", "{problem}", {"problem": _unknown(str(key), cls), "key": str(key)}
                    )
        return given


def _unknown(key: str, model: type[BaseModel]) -> str:
    near = nearest(key, model.model_fields)
    shown = key if len(key) <= 40 else key[:40] + "..."
    return f"unknown key `{shown}`; " + (
        f"did you mean `{near}`?" if near else f"known: {', '.join(model.model_fields)}"
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def path_of(loc: tuple[int | str, ...]) -> str:
    """A place in a document as people write it: ``inputs[1].responses[3]``."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
