"""How a batch is cut: what a query costs where prefixes are shared, and who goes with whom."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.batching.budget import BatchSettings
from guerdon.batching.prefix_index import PASS_OVER, PrefixIndex
from guerdon.batching.queue import RUN_ALONE_AFTER, Queue
from guerdon.domain.queries import Query, integers
from guerdon.engines.shared_cost import SharedCost

# Few tokens, so that prefixes meet; some whose bytes come in another order than the numbers.
TOKENS = st.sampled_from([0, 1, 256, 65_537, 2**31 - 1])
QUERIES = st.builds(
    Query.of,
    st.lists(TOKENS, min_size=1, max_size=8),
    st.sampled_from([(), (0,), (1,)]),
    adapter=st.sampled_from(["", "a"]),
    layers=st.sampled_from([(), (-1,)]),
    pooling=st.sampled_from(["last", "mean"]),
)
ONE_KIND = st.builds(Query.of, st.lists(TOKENS, min_size=1, max_size=8))
WAITING = st.lists(QUERIES | ONE_KIND, max_size=PASS_OVER, unique=True)
BUDGETS = st.builds(BatchSettings, max_batch_tokens=st.integers(1, 40), max_batch_items=st.integers(1, 20))
untimed = settings(deadline=None)


class Nobody:
    """One who waits for ever, until she leaves."""

    def __init__(self):
        self.left = False

    def done(self):
        return self.left


def prefixes(query):
    ids = tuple(integers(query.token_ids).tolist())
    return {(query.adapter, query.layers, query.pooling, ids[: end + 1]) for end in range(len(ids))}


def cost(queries, shares):
    """A trie's size, or the sum of the lengths."""
    return len(set().union(*map(prefixes, queries))) if shares else sum(query.length for query in queries)


def shared(one, other):
    return len(prefixes(one) & prefixes(other))


def order(query):
    return query.token_ids, query.type_ids


def mates(query, others):
    """By the definition, in the order promised; of equally near ones those before go first, then the nearest."""
    alike = sorted((other for other in others if shared(query, other) * 2 >= other.length), key=order)
    alike = [other for other in alike if shared(query, other)]
    before = [other for other in alike if order(other) < order(query)][::-1]
    after = [other for other in alike if order(other) > order(query)]
    return sorted(before + after, key=lambda other: -shared(query, other))


def expected_batch(waiting, budget, shares, suspects=frozenset()):
    """The policy word by word: everything is looked at."""
    rest, batch = list(waiting), []

    def fits(query):
        return not batch or (
            len(batch) < budget.max_batch_items
            and cost([*batch, query], shares) <= budget.max_batch_tokens
            and query not in suspects
        )

    while rest and fits(rest[0]):
        oldest = rest.pop(0)
        batch.append(oldest)
        if oldest in suspects:
            break
        for mate in mates(oldest, rest) if shares else []:
            if fits(mate):
                batch.append(mate)
                rest.remove(mate)
    return batch


def filled(waiting):
    queue = Queue()
    for query in waiting:
        queue.add(query, Nobody())
    return queue


def cut(queue, budget, *, shares):
    return [entry.query for entry in queue.cut(budget, shares=shares)]


def in_order(queue):
    """All that waits, the oldest first; the queue is empty then."""
    one = BatchSettings(max_batch_items=1)
    taken = []
    while len(queue):
        taken += cut(queue, one, shares=False)
    return taken


@untimed
@given(st.lists(QUERIES, max_size=20), st.booleans())
def test_the_cost_of_a_batch_is_the_size_of_its_trie(queries, shares):
    """In whatever order queries are added, repetitions and empty ones included."""
    counted, total = SharedCost(shares=shares), 0
    for query in [*queries, Query.of(())]:
        before = counted.added(query)
        assert counted.added(query) == before
        counted.add(query)
        total += before
    assert total == cost(queries, shares)


@untimed
@given(WAITING, BUDGETS, st.booleans())
def test_every_batch_fits_and_leaves_out_only_what_does_not(waiting, budget, shares):
    """The oldest goes, the budget holds but for a single query longer than it, and the next oldest had no room."""
    queue, rest = filled(waiting), list(waiting)
    while rest:
        batch = cut(queue, budget, shares=shares)
        assert batch[0] == rest[0]
        assert len(set(batch)) == len(batch) <= budget.max_batch_items
        assert cost(batch, shares) <= budget.max_batch_tokens or len(batch) == 1
        rest = [query for query in rest if query not in batch]
        assert (len(queue), queue.tokens) == (len(rest), sum(query.length for query in rest))
        if rest and len(batch) < budget.max_batch_items:
            assert cost([*batch, rest[0]], shares) > budget.max_batch_tokens
    assert cut(queue, budget, shares=shares) == []


@untimed
@given(WAITING, BUDGETS, st.booleans(), st.sets(st.integers(0, PASS_OVER), max_size=3))
def test_a_batch_is_the_oldest_and_their_mates(waiting, budget, shares, suspicious):
    """As the policy says it, word by word; and what took workers down runs alone. All that waits needs no order."""
    queue, rest = Queue(), list(waiting)
    suspects = {query for place, query in enumerate(waiting) if place in suspicious}
    for query in waiting:
        queue.add(query, Nobody()).deaths = RUN_ALONE_AFTER if query in suspects else 0
    while rest:
        batch = cut(queue, budget, shares=shares)
        right = expected_batch(rest, budget, shares, suspects)
        assert batch == right or (batch == rest and set(batch) == set(right))
        rest = [query for query in rest if query not in batch]


@untimed
@given(
    st.lists(
        st.tuples(st.just("add"), QUERIES)
        | st.tuples(st.sampled_from(["cut", "put back", "leave"]), st.integers(0, 9)),
        max_size=40,
    )
)
def test_what_waits_keeps_its_order_through_everything(steps):
    """Coming, going, being cut and put back in front: each distinct query waits once, in its place."""
    queue, waiting, out = Queue(), [], []
    callers = {}
    for step, what in steps:
        if step == "add":
            caller = Nobody()
            callers.setdefault(what, []).append((queue.add(what, caller), caller))
            waiting += [what] if what not in waiting else []
        elif step == "cut":
            out = queue.cut(BatchSettings(max_batch_items=what + 1), shares=True)
            waiting = [query for query in waiting if query not in [entry.query for entry in out]]
        elif step == "put back":
            wanted = [entry for entry in out if entry.wanted]
            queue.put_back(wanted)
            again = [entry.query for entry in wanted]
            waiting = again + [query for query in waiting if query not in again]
            out = []
        elif waiting:
            query = waiting.pop(what % len(waiting))
            told = []
            for entry, caller in callers.pop(query):
                caller.left = True
                told.append(queue.withdraw(entry))
            assert told == [False] * (len(told) - 1) + [True]
        assert queue.tokens == sum(query.length for query in waiting)
    assert in_order(queue) == waiting


def test_callers_of_an_equal_query_are_all_answered():
    """One entry, also when it was cut in between and put back."""

    async def ask():
        loop = asyncio.get_running_loop()
        queue, query = Queue(), Query.of((1, 2))
        waiters = [loop.create_future() for _ in range(3)]
        first = [queue.add(query, waiter) for waiter in waiters[:2]]
        assert first[0] is first[1]
        taken = queue.cut(BatchSettings(), shares=True)
        queue.add(query, waiters[2])
        queue.put_back(taken)
        (entry,) = queue.cut(BatchSettings(), shares=True)
        entry.settle("the answer", 2)
        assert [waiter.result() for waiter in waiters] == ["the answer"] * 3
        assert not entry.wanted

    asyncio.run(ask())


def groups(count, size, *, seed=0, kind=Query):
    """Groups of responses to prompts that begin alike, four times as long as the responses."""
    rng = random.Random(seed)
    words = lambda length: [rng.randrange(1_000) for _ in range(length)]  # noqa: E731
    system = words(4)
    prompts = [system + words(12) for _ in range(count)]
    return [[kind.of(prompt + words(4)) for _ in range(size)] for prompt in prompts]


def interleaved(grouped, *, seed=0):
    queries = [query for group in grouped for query in group]
    random.Random(seed).shuffle(queries)
    return queries


def test_groups_that_arrive_interleaved_are_computed_group_by_group():
    """Every prompt but the common beginning is computed once in all, although a batch holds two groups of fifty."""
    grouped = groups(50, 8)
    queue = filled(interleaved(grouped))
    budget = BatchSettings(max_batch_tokens=4 + 2 * (12 + 8 * 4))
    batches = []
    while len(queue):
        batches.append(cut(queue, budget, shares=True))
    assert len(batches) == 25
    for batch in batches:
        assert list(Counter(query.token_ids[:64] for query in batch).values()) == [8, 8]


def test_no_group_holds_up_the_oldest():
    """However many mates join a query, whoever waited longest is in the next batch."""
    grouped = groups(2, 500)
    alone = Query.of((5, 5, 5))
    queue = filled([*grouped[0][:1], alone, *grouped[0][1:], *grouped[1]])
    budget = BatchSettings(max_batch_items=32)
    assert cut(queue, budget, shares=True) == [grouped[0][0], *mates(grouped[0][0], grouped[0])[:31]]
    assert cut(queue, budget, shares=True)[0] == alone


def test_mates_are_found_among_thousands_that_come_and_go():
    """The index agrees with a look at everything, after as many removals as are left."""
    grouped = groups(600, 8)
    queries = interleaved(grouped)
    index = PrefixIndex()
    for query in queries:
        index.add(query)
    for query in queries[::2]:
        index.remove(query)
    left = set(queries[1::2])
    for group in grouped[::20]:
        for query in group:
            here = [other for other in group if other in left and other != query]
            assert list(index.mates(query)) == mates(query, here)
    for query in left:
        index.remove(query)
    assert all(list(index.mates(query)) == [] for query in queries[::100])


class Watched(Query):
    """A query that counts how often any query's tokens are looked at."""

    __slots__ = ()
    looks = 0

    def __getattribute__(self, name):
        if name == "token_ids":
            Watched.looks += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize("tokens", [30, 16_384])
@pytest.mark.parametrize("size", [1, 8, 40_000])
def test_to_cut_a_batch_costs_the_same_however_many_wait(size, tokens):
    """Forty times as many waiting, and fewer than twice as many looks at them: for strangers, groups, and one group."""
    budget = BatchSettings(max_batch_items=64, max_batch_tokens=tokens)

    def looks(count):
        queries = interleaved(groups(max(count // size, 1), min(size, count), kind=Watched))
        queue = filled(queries[:-256])
        Watched.looks = 0
        for query in queries[-256:]:
            queue.add(query, Nobody())
        for _ in range(4):
            assert cut(queue, budget, shares=True)
        return Watched.looks

    few, many = looks(1_000), looks(40_000)
    assert many < 2 * few
