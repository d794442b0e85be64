"""When a worker counts as hung, and how it comes back."""

from pydantic import Field

from guerdon.domain.strict import Strict


class WorkerSettings(Strict):
    """Times of a worker child, in seconds.

    A child that is silent for ``hung_after_s``, or needs more than ``batch_timeout_s`` for one batch, is killed
    and started anew. Restarts wait ``backoff_s``, doubled after each failure up to ``backoff_max_s``.
    """

    hung_after_s: float = Field(10.0, gt=1.5)
    batch_timeout_s: float = Field(300.0, gt=0)
    load_timeout_s: float = Field(1800.0, gt=0)
    backoff_s: float = Field(0.1, gt=0)
    backoff_max_s: float = Field(30.0, gt=0)
