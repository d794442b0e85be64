"""How much one caller may ask at once."""

from pydantic import ByteSize, Field

from guerdon.domain.strict import Strict


class Limits(Strict):
    """Bounds of a request, of the queue behind it, and of its time."""

    max_body: ByteSize = Field(ByteSize(8 << 20), gt=0)
    max_inputs: int = Field(1024, gt=0)
    max_responses: int = Field(1024, gt=0)
    max_total_responses: int = Field(16_384, gt=0)
    max_pairs: int = Field(65_536, gt=0, description="that one request compares")
    queue_tokens: int = Field(4_000_000, gt=0)
    timeout_s: float = Field(100.0, gt=0)
    body_timeout_s: float = Field(30.0, gt=0)
