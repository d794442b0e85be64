"""What all recipes have in common."""

from pydantic import Field

from guerdon.domain.strict import Strict


class Judging(Strict):
    """How the model is sampled, and whether its answers are held to a form."""

    temperature: float = Field(0.5, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(2048, ge=1, le=131_072, description="of one answer")
    structured: bool = Field(True, description="hold answers to a JSON schema or to choices, where the engine can")
    rationale_chars: int = Field(2000, ge=1, description="the longest text in an answer that is held to a schema")
