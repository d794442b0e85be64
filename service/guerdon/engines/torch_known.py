"""Keys and values of recent sequences: responses to a prompt that come one by one pay for it once."""

from collections.abc import Sequence
from threading import Lock

from guerdon.domain.queries import TOKEN_BYTES
from guerdon.engines.prefix_store import Match, PrefixStore
from guerdon.engines.prefix_trie import Row
from guerdon.engines.torch_segments import Held

FEWEST, MOST, WORTH = 16, 64, 1 << 22
NOTHING: Match[Held] = Match(0, ())


def worth_knowing(width: int) -> int:
    """How many tokens a known prefix must have, in a model of this width, to be of use.

    To keep and to attend to pieces takes about the same time whatever they hold; to compute tokens again takes
    tokens x width^2. They are level near 64 tokens of a model 256 wide.
    """
    return min(MOST, max(FEWEST, WORTH // width**2))


class KnownPrefixes:
    """One tree of known sequences per adapter, within a common limit in bytes. 0 keeps nothing.

    Sequences of fewer tokens than ``fewest`` are not kept, nor matches of fewer used.
    """

    def __init__(self, max_bytes: int, *, fewest: int) -> None:
        self.fewest = fewest
        self._max_bytes = max_bytes
        self._trees: dict[str, KnownTree] = {}
        self._lock = Lock()

    def of(self, adapter: str) -> "KnownTree | None":
        """The tree of an adapter, empty for the model as it is; None where nothing is kept."""
        if not self._max_bytes:
            return None
        with self._lock:
            if adapter not in self._trees:
                self._trees[adapter] = KnownTree(self._max_bytes, fewest=self.fewest)
                for tree in self._trees.values():
                    tree.limit(self._max_bytes // len(self._trees))
            return self._trees[adapter]

    def clear(self) -> bool:
        """Forget everything; whether there was anything."""
        with self._lock:
            held = any(tree.tokens for tree in self._trees.values())
            self._trees.clear()
            return held


class KnownTree:
    """Known prefixes of one model with one adapter. Safe for threads."""

    def __init__(self, max_bytes: int, *, fewest: int) -> None:
        self._max_bytes, self._fewest = max_bytes, fewest
        self._bytes_per_token = 0
        self._store: PrefixStore[Held] = PrefixStore(0, _view, _own)
        self._lock = Lock()

    @property
    def tokens(self) -> int:
        """How many are known."""
        return self._store.tokens

    def limit(self, max_bytes: int) -> None:
        """Change how much is kept."""
        with self._lock:
            self._max_bytes = max_bytes
            self._trim()

    def match(self, sequences: Sequence[bytes], at_most: Sequence[int]) -> list[Match[Held]]:
        """What is known of each sequence, up to so many of its tokens; nothing where that is too little."""
        with self._lock:
            return [self._of_use(one, limit) for one, limit in zip(sequences, at_most, strict=True)]

    def _of_use(self, sequence: bytes, at_most: int) -> Match[Held]:
        if at_most < self._fewest:
            return NOTHING
        match = self._store.match(sequence, at_most)
        return match if match.length >= self._fewest else NOTHING

    def keep(self, sequences: Sequence[bytes], row: Row, kept: Sequence[Held]) -> None:
        """Put in what a row's segments computed."""
        with self._lock:
            self._bytes_per_token = sum(k[:, :1].nbytes + v[:, :1].nbytes for k, v in kept[0])
            done: set[int] = set()
            long = [i for i, sequence in enumerate(sequences) if len(sequence) >= self._fewest * TOKEN_BYTES]
            for index in long:
                sequence = sequences[index]
                for number in row.path(index):
                    if number not in done:
                        done.add(number)
                        segment = row.segments[number]
                        end = segment.position + segment.end - segment.start
                        self._store.put(sequence[: end * TOKEN_BYTES], segment.position, kept[number])
            self._trim()

    def _trim(self) -> None:
        if self._bytes_per_token:
            self._store.max_tokens = self._max_bytes // self._bytes_per_token
            self._store.trim()


def _view(held: Held, start: int, stop: int) -> Held:
    return [(key[:, start:stop], value[:, start:stop]) for key, value in held]


def _own(held: Held) -> Held:
    return [(key.clone(), value.clone()) for key, value in held]
