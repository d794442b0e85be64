"""What identifies a score: who computes it, and of what."""

import hashlib
from collections.abc import Iterable, Sequence

import orjson

from guerdon.domain.samples import Sample, Turns


def identity(parts: Iterable[str]) -> bytes:
    """A scorer's identity from all that changes its numbers. Parts are length-prefixed, so none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)
    return digest.digest()


def score_keys(scorer: bytes, samples: Sequence[Sample]) -> list[bytes]:
    """Identity of one scorer's score of each sample (32 bytes).

    The caller's ids, order and metadata are left out: they change nothing that is computed. A conversation that
    several samples share is hashed once. What is hashed is JSON, where every list ends: nothing runs into the next.
    """
    begun: dict[int, hashlib._Hash] = {}
    keys = []
    for sample in samples:
        conversation = begun.get(id(sample.messages))
        if conversation is None:
            conversation = begun[id(sample.messages)] = _conversation(scorer, sample.messages)
        digest = conversation.copy()
        digest.update(orjson.dumps((sample.responses, sample.reference, sample.principle)))
        if sample.seed is not None:
            digest.update(orjson.dumps(sample.seed))
        if sample.templated is not None:
            digest.update(orjson.dumps(sample.templated))
        keys.append(digest.digest())
    return keys


def _conversation(scorer: bytes, messages: Turns) -> "hashlib._Hash":
    digest = hashlib.sha256(scorer)
    digest.update(orjson.dumps(messages))
    return digest
