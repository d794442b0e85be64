"""The packed row: every distinct token once, every sequence spelled out, every mask the right one."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from guerdon.engines.prefix_trie import Row, pack, pack_apart

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=12)


def as_bytes(ids):
    return array("i", ids).tobytes()


def packed(ids, known=()):
    return pack([as_bytes(one) for one in ids], known)


def spelled(row: Row, sequence):
    """The tokens along a sequence's path, as (token, position)."""
    places = [place for i in row.path(sequence) for place in range(row.segments[i].start, row.segments[i].end)]
    return [(int(row.token_ids[place]), int(row.positions[place])) for place in places]


def visible(row: Row):
    """For each place the places that it sees, by walking up the trie."""
    seen = {}
    for segment in row.segments:
        above, parent = [], segment.parent
        while parent >= 0:
            above += range(row.segments[parent].start, row.segments[parent].end)
            parent = row.segments[parent].parent
        for place in range(segment.start, segment.end):
            seen[place] = {*above, *range(segment.start, place + 1)}
    return seen


@given(sequences)
def test_every_path_spells_its_sequence(ids):
    """From its root to its leaf, a sequence's segments hold exactly its tokens at their positions."""
    row = packed(ids)
    for index, one in enumerate(ids):
        assert spelled(row, index) == [(token, position) for position, token in enumerate(one)]
        assert row.place(index, len(one) - 1) == row.last(index)
        assert all(row.token_ids[row.place(index, p)] == one[p] for p in range(len(one)))


@given(sequences)
def test_no_token_is_computed_twice(ids):
    """The row is as long as there are distinct non-empty prefixes, and each sequence's share adds up to it."""
    row = packed(ids)
    prefixes = {one[:length] for one in ids for length in range(1, len(one) + 1)}
    assert len(row.token_ids) == len(row.positions) == len(prefixes) == sum(row.fresh)


@given(sequences)
def test_what_lies_below_a_segment_follows_it_in_one_piece(ids):
    """Segments tile the row in order; a place's descendants are [end, reach), as the mask's interval form says."""
    row = packed(ids)
    assert [s.start for s in row.segments] == [0, *(s.end for s in row.segments[:-1])]
    assert row.segments[-1].end == len(row.token_ids)
    reach = [s.reach for s in row.segments for _ in range(s.start, s.end)]
    for place, seen in visible(row).items():
        assert seen == {other for other in range(len(reach)) if other <= place < reach[other]}


@given(sequences, st.data())
def test_known_prefixes_become_contexts(ids, data):
    """What is known is left out of the row; context and path together spell the sequence."""
    known = [data.draw(st.integers(0, len(one) - 1)) for one in ids]
    row = packed(ids, known)
    for index, (one, count) in enumerate(zip(ids, known, strict=True)):
        assert spelled(row, index) == [(token, position) for position, token in enumerate(one)][count:]
        above = [context for context in row.contexts if context.start <= row.last(index) < context.end]
        assert [context.prefix for context in above] == ([as_bytes(one[:count])] if count else [])
    parts = {(one[:count], one[:length]) for one, count in zip(ids, known, strict=True)
             for length in range(count + 1, len(one) + 1)}  # fmt: skip
    assert len(row.token_ids) == len(parts)


@given(sequences)
def test_apart_nothing_is_shared(ids):
    """Each sequence has its own segment, in the order given."""
    row = pack_apart([as_bytes(one) for one in ids])
    assert row.token_ids.tolist() == [token for one in ids for token in one]
    assert row.positions.tolist() == [position for one in ids for position in range(len(one))]
    assert [spelled(row, index) for index in range(len(ids))] == [[(t, p) for p, t in enumerate(one)] for one in ids]
