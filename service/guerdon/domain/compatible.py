"""How what other protocols leave open is meant."""

from typing import Literal

from pydantic import Field

from guerdon.domain.strict import Strict

TemplatedText = Literal["as_it_stands", "split"]


class CompatibleSettings(Strict):
    """Of the routes that speak other servers' protocols."""

    templated_text: TemplatedText = Field(
        "as_it_stands",
        description="text that carries a chat template: read as it stands, or split into turns for the model's own",
    )
    principle: Literal["refuse", "system"] = Field(
        "refuse", description="a principle, for a model that makes no use of one: an error, or a system turn"
    )
