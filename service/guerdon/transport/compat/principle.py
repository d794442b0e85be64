"""What becomes of a principle that a caller sends."""

from dataclasses import replace

from guerdon.domain.errors import UnusableField
from guerdon.domain.samples import Message, Sample
from guerdon.transport.dialect import Call


def with_principle(call: Call, model: str | None, sample: Sample, principle: str | None) -> Sample:
    """The sample under a principle.

    For a model that makes no use of principles it begins the system turn, where the service is configured so. Raises
    UnusableField where it is not.
    """
    if not principle or principle.isspace():
        return sample
    if any("principle" in found.uses for found in call.models(model)):
        return replace(sample, principle=principle)
    if call.desk.compatible.principle == "refuse":
        told = "can make no use of a principle, and `compatible.principle: system` is not set"
        raise UnusableField(f"{call.named(model)} {told}", field="principle")
    first, *others = sample.messages
    if first.role == "system":
        return replace(sample, messages=(Message("system", f"{principle}\n\n{first.content}"), *others))
    return replace(sample, messages=(Message("system", principle), *sample.messages))
