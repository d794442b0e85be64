"""The store of known prefixes, against a plain set of all prefixes that were put in."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from guerdon.engines.prefix_store import PrefixStore

sequence = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)
sequences = st.lists(sequence, min_size=1, max_size=15)


def as_bytes(ids):
    return array("i", ids).tobytes()


def store_of(max_tokens):
    """Each token's piece is the prefix that ends with it: what is kept depends on all that came before."""
    return PrefixStore(max_tokens, lambda piece, start, stop: piece[start:stop], list)


def pieces_of(ids, start):
    return [ids[: end + 1] for end in range(start, len(ids))]


def add(store, ids, *, trim=True):
    known = store.match(as_bytes(ids), len(ids) - 1)
    store.put(as_bytes(ids), known.length, pieces_of(ids, known.length))
    if trim:
        store.trim()


@given(sequences, sequence, st.integers(0, 8))
def test_the_longest_known_prefix_is_found_with_its_pieces(ids, asked, at_most):
    """With room for all, a match is the longest prefix of anything put in, and its pieces are the right ones."""
    store = store_of(1000)
    for one in ids:
        add(store, one)
    known = {one[:length] for one in ids for length in range(len(one) + 1)}
    longest = max(length for length in range(min(len(asked), at_most) + 1) if asked[:length] in known)
    match = store.match(as_bytes(asked), at_most)
    assert match.length == longest
    assert [token for piece in match.pieces for token in piece] == pieces_of(asked[:longest], 0)
    assert store.tokens == len(known) - 1


@given(sequences, st.integers(0, 12), sequence)
def test_a_full_store_stays_within_its_limit_and_never_lies(ids, max_tokens, asked):
    """Whatever was dropped, what is found is right, and no more is kept than there is room for."""
    store = store_of(max_tokens)
    for one in ids:
        add(store, one)
        assert store.tokens <= max_tokens
    match = store.match(as_bytes(asked), len(asked))
    assert [token for piece in match.pieces for token in piece] == pieces_of(asked[: match.length], 0)


def test_what_was_used_last_stays():
    """A prompt that responses keep coming for outlives their ends, and other prompts."""
    store = store_of(12)
    prompt = (1,) * 8
    for response in range(20):
        add(store, (*prompt, 2 + response, 3))
        assert store.match(as_bytes((*prompt, 99)), 9).length == 8


def test_what_lost_its_beginning_is_not_kept():
    """Tokens whose prefix was dropped between match and put are not put under another."""
    store = store_of(100)
    store.put(as_bytes((1, 2, 3)), 2, pieces_of((1, 2, 3), 2))
    assert store.tokens == 0
    assert store.match(as_bytes((1, 2, 3)), 3).length == 0
