"""What identifies a score: who computes it, and of what."""

import hashlib
from collections.abc import Iterable, Sequence

from guerdon.domain.samples import Sample


def identity(parts: Iterable[str]) -> bytes:
    """A scorer's identity from all that changes its numbers. Parts are length-prefixed, so none runs into the next."""
    digest = hashlib.sha256()
    _add(digest, parts)
    return digest.digest()


def score_keys(scorer: bytes, samples: Sequence[Sample]) -> list[bytes]:
    """Identity of one scorer's score of each sample (32 bytes).

    The caller's ids, order and metadata are left out: they change nothing that is computed. A conversation that
    several samples share is hashed once.
    """
    begun: dict[int, hashlib._Hash] = {}
    keys = []
    for sample in samples:
        if id(sample.messages) not in begun:
            begun[id(sample.messages)] = _conversation(scorer, sample)
        keys.append(_score_key(begun[id(sample.messages)].copy(), sample))
    return keys


def _conversation(scorer: bytes, sample: Sample) -> "hashlib._Hash":
    digest = hashlib.sha256(scorer)
    digest.update(f"{len(sample.messages)};".encode())
    _add(digest, (text for turn in sample.messages for text in (turn.role, turn.content)))
    return digest


def _score_key(digest: "hashlib._Hash", sample: Sample) -> bytes:
    digest.update(f"{[len(response) for response in sample.responses]}".encode())
    for turns in sample.responses:
        _add(digest, (text for turn in turns for text in (turn.role, turn.content)))
    for field in (sample.reference, sample.principle):
        _add(digest, () if field is None else (field,))
        digest.update(b";")
    return digest.digest()


def _add(digest: "hashlib._Hash", parts: Iterable[str]) -> None:
    for part in parts:
        encoded = part.encode()
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)
