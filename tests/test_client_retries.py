"""When the client asks again, and how it looks from the other side of a socket."""

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.domain.errors import BY_CODE
from guerdon_client import (
    AsyncClient,
    Busy,
    Client,
    GuerdonError,
    Refused,
    Retries,
    TimedOut,
    UnknownModel,
    Unreachable,
    openrlhf,
    trl,
)
from guerdon_client.environment import place
from guerdon_client.errors import KINDS, OF_INPUTS, of_code
from guerdon_client.ms_swift import orm
from guerdon_client.requests import Request
from guerdon_client.retries import RETRIED_STATUSES, retry_after_s
from guerdon_client.steps import Ask, Patience, Pause, Reply, answered
from scripted_server import Answer, scripted

SCORED = {
    "id": "1", "model": "default", "revision": "r", "data": [{"index": 0, "rewards": [1.5], "truncated": [False]}],
    "usage": {"responses": 1, "cached": 0, "tokens": 3, "tokens_computed": 3},
}  # fmt: skip
OVERLOADED = {"error": {"code": "overloaded", "message": "the queue is full"}}
QUICK = Retries(attempts=10, first_s=0.001, longest_s=0.002)

statuses = st.sampled_from([0, 200, 400, 404, 408, 422, 429, 500, 502, 503, 504])


@given(
    statuses,
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 200),
    st.one_of(st.none(), st.floats(0, 100)),
)
def test_a_wait_is_what_was_asked_for_and_a_share_of_a_bound_that_doubles(status, attempt, drawn, left_s, asked_s):
    """Never past the budget of attempts or time, and never for an error that will not pass."""
    policy = Retries(attempts=20, first_s=0.1, longest_s=10)
    problem = GuerdonError("overloaded", "no", status=status, retry_after_s=asked_s)
    wait_s = policy.wait_s(problem, attempt=attempt, left_s=left_s, drawn=drawn)
    bound_s = min(10, 0.1 * 2 ** (attempt - 1))
    if status not in RETRIED_STATUSES or attempt >= 20:
        assert wait_s is None
    elif wait_s is None:
        assert (asked_s or 0) + drawn * bound_s >= left_s
    else:
        assert (asked_s or 0) <= wait_s <= min((asked_s or 0) + bound_s, left_s)


@given(st.lists(st.sampled_from([408, 429, 502, 503, "unreachable"]), max_size=30), st.floats(1, 60), st.floats(0, 1))
def test_a_call_never_outlives_its_time(failures, timeout_s, drawn):
    """Every request of it has the same id, and what it is given of time is what is left."""
    clock = [0.0]
    patience = Patience(timeout_s=timeout_s, retries=Retries(attempts=12), now=lambda: clock[0], draw=lambda: drawn)
    steps = answered(Request(path="/v1/score", body={}), patience)
    outcomes = [
        of_code("unreachable", "gone") if failure == "unreachable" else Reply(failure, OVERLOADED, 1.0)
        for failure in failures
    ]
    ids, sent = set(), 0
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                clock[0] += step.seconds
                step = steps.send(None)
                continue
            assert isinstance(step, Ask)
            assert step.timeout_s == pytest.approx(timeout_s - clock[0])
            ids.add(step.request.id)
            outcome = outcomes[sent] if sent < len(outcomes) else Reply(200, SCORED)
            sent += 1
            step = steps.send(outcome)
    except StopIteration as end:
        assert end.value == SCORED
        assert sent == len(failures) + 1
    except GuerdonError as problem:
        assert problem.code in ("unreachable", "overloaded")
    assert len(ids) == 1
    assert sent <= 12
    assert clock[0] <= timeout_s


@pytest.mark.parametrize("failure", [of_code("unreachable", "gone"), Reply(503, OVERLOADED, 1.0)])
@pytest.mark.parametrize("drawn", [0.05, 0.5, 0.95])
def test_a_call_is_pursued_for_all_its_time(failure, drawn):
    """By default: a service that is away is asked until less is left than the next wait would take."""
    clock, asked = [0.0], 0
    patience = Patience(timeout_s=120, retries=Retries(), now=lambda: clock[0], draw=lambda: drawn)
    steps = answered(Request(path="/v1/score", body={}), patience)
    step = next(steps)
    with pytest.raises(GuerdonError, match=r"unreachable|overloaded"):
        while True:
            if isinstance(step, Pause):
                clock[0] += step.seconds
            asked += isinstance(step, Ask)
            step = steps.send(failure if isinstance(step, Ask) else None)
    assert 120 - 10 - 1 <= clock[0] < 120
    assert asked > 10


def test_the_first_error_ends_a_call_of_many_requests():
    """The others may take as long as they like: nobody waits for them, and none is tried again."""
    held = threading.Event()
    refusal = {"error": {"code": "invalid", "message": "no", "field": "model"}}

    def script(_, asked):
        if asked.body is None:
            return Answer(200, {"data": []})
        return Answer(422, refusal) if len(asked.body["inputs"]) == 1 else Answer(503, OVERLOADED, after=held)

    inputs = [{"prompt": "p", "responses": ["r"]}] * 257
    with scripted(script) as server, Client(server.url) as client, ThreadPoolExecutor(1) as pool:
        try:
            with pytest.raises(Refused):
                pool.submit(client.score_many, inputs).result(10)
        finally:
            held.set()
    assert len(server.asked) <= 3


def test_retry_after_is_seconds_or_a_date():
    """As RFC 9110 has it; anything else says nothing."""
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_s("7", now) == 7.0
    assert retry_after_s("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30.0
    assert retry_after_s("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0
    assert retry_after_s("soon", now) is None
    assert retry_after_s(None, now) is None


def test_copies_are_sent_when_a_request_is_slow():
    """None by default; one after the time for hedging; one after each time that an attempt may take."""
    assert Retries().copies_at(60, None) == ()
    assert Retries().copies_at(60, 0.5) == (0.5,)
    assert Retries(attempts=4, attempt_s=10).copies_at(25, 0.5) == (0.5, 10, 20)
    assert Retries(attempts=2, attempt_s=10).copies_at(25, None) == (10,)
    assert len(Retries(attempt_s=0.1).copies_at(600, None)) == 9


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES))
def test_what_passes_is_asked_again_over_the_same_connection(status):
    """The same body under the same id, with less and less time; one connection for all."""
    with scripted(lambda n, _: Answer(status, OVERLOADED) if n < 3 else Answer(200, SCORED)) as server:
        with Client(server.url, retries=QUICK, timeout_s=30) as client:
            assert list(client.score("p", ["r"])) == [1.5]
        assert len(server.asked) == 4
        assert len({(asked.headers["x-request-id"], str(asked.body), asked.port) for asked in server.asked}) == 1
        left = [int(asked.headers["x-request-timeout-ms"]) for asked in server.asked]
        assert sorted(left, reverse=True) == left
        assert 0 < left[-1] <= left[0] < 30_000


def test_retry_after_is_waited_out_or_not_at_all():
    """A wait that would outlast the call is not begun: the refusal is raised at once, with what it asked for."""
    with scripted(lambda n, _: Answer(503, OVERLOADED, {"retry-after": "3600"})) as server:
        with Client(server.url, timeout_s=30) as client, pytest.raises(Busy) as refused:
            client.score("p", ["r"])
        assert refused.value.retry_after_s == 3600
        assert len(server.asked) == 1


def test_a_broken_connection_is_tried_again():
    """The service may have been restarted; scoring twice does no harm."""
    with scripted(lambda n, _: Answer(0) if n < 2 else Answer(200, SCORED)) as server:
        with Client(server.url, retries=QUICK) as client:
            assert client.score("p", ["r"])[0] == 1.5
        assert len(server.asked) == 3


def test_what_will_not_pass_is_raised_at_once():
    """As the class of its code, with the field at fault; and what is no Guerdon service is told to be none."""
    refusal = {"error": {"code": "invalid", "message": "no", "field": "model"}}
    with scripted(lambda n, _: Answer(422, refusal) if n == 0 else Answer(200, {"hello": 1})) as server:
        with Client(server.url) as client:
            with pytest.raises(Refused) as refused:
                client.score("p", ["r"])
            with pytest.raises(GuerdonError, match="not_guerdon"):
                client.score("p", ["r"])
        assert (refused.value.code, refused.value.status, refused.value.field) == ("invalid", 422, "model")
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "field"),
    [
        (404, {"error": {"code": "unknown_model", "message": "m"}}, UnknownModel, "unknown_model", None),
        (422, {"error": "m", "error_type": "E", "code": "invalid", "field": "texts"}, Refused, "invalid", "texts"),
        (422, {"error": {"message": "m", "type": "invalid", "param": "f", "code": 422}}, Refused, "invalid", "f"),
        (422, {"error": "m"}, Refused, "invalid", None),
        (504, {"error": "m"}, TimedOut, "deadline_exceeded", None),
        (418, {"error": "m"}, GuerdonError, "not_guerdon", None),
        (404, {"detail": "Not Found"}, GuerdonError, "not_guerdon", None),
        (422, [1], GuerdonError, "not_guerdon", None),
        (500, None, GuerdonError, "not_guerdon", None),
    ],
)  # fmt: skip
def test_errors_are_read_in_every_protocols_words(status, body, kind, code, field):
    """The service's own, TEI's, OpenAI's, Open Inference's; what is none of these is no Guerdon service."""
    problem = Reply(status, body, 2.0).problem()
    assert (type(problem), problem.code, problem.field) == (kind, code, field)
    assert (problem.status, problem.retry_after_s) == (status, 2.0)
    assert problem.message == "m" or code == "not_guerdon"


@pytest.mark.parametrize("url", ["localhost:8000", "127.0.0.1", "ftp://a", "", "//a:1", "unix:///a"])
@pytest.mark.parametrize("kind", [Client, AsyncClient, place, trl.reward_func, orm, openrlhf.reward_func_of])
def test_an_address_says_how_the_service_is_asked(kind, url, monkeypatch):
    """Where it does not, that is told before anything is asked."""
    monkeypatch.delenv("GUERDON_URL", raising=False)
    with pytest.raises((ValueError, Refused), match=r"http://|GUERDON_URL"):
        kind(url)


@pytest.mark.parametrize("method", ["score", "rerank", "compare"])
async def test_one_text_is_no_list_of_responses(method):
    """Its letters are not scored, one by one, by either client."""
    with Client("http://127.0.0.1:9") as client, pytest.raises(TypeError, match=r"write \[response\]"):
        getattr(client, method)("q", "abc")
    async with AsyncClient("http://127.0.0.1:9") as client:
        with pytest.raises(TypeError, match=r"write \[response\]"):
            await getattr(client, method)("q", "abc")


def test_attempts_are_counted():
    """The last failure is raised."""
    with scripted(lambda n, _: Answer(503, OVERLOADED)) as server:
        with Client(server.url, retries=Retries(attempts=3, first_s=0.001)) as client, pytest.raises(Busy):
            client.score("p", ["r"])
        assert len(server.asked) == 3
    with Client("http://127.0.0.1:9", retries=QUICK) as nobody, pytest.raises(Unreachable):
        nobody.score("p", ["r"])


def test_time_that_runs_out_is_told():
    """The service does not answer: after the time allowed, that is raised."""
    never = threading.Event()
    with scripted(lambda n, _: Answer(200, SCORED, after=never)) as server:
        with Client(server.url, timeout_s=0.2) as client, pytest.raises(TimedOut):
            client.score("p", ["r"])
        never.set()


def test_what_json_cannot_say_is_refused_here():
    """A lone surrogate or NaN is sent to nobody."""
    with Client("http://127.0.0.1:9") as client:
        for option in ({"aggregation": {"coefficient": float("nan")}}, {"run": "\ud800"}):
            with pytest.raises(Refused, match="malformed"):
                client.score("p", ["r"], **option)


@pytest.mark.parametrize("options", [{"hedge_after_s": 0.05}, {"retries": Retries(attempt_s=0.05)}])
def test_a_slow_request_is_sent_again_on_another_connection(options):
    """The first stays open; the answer that comes first counts, from either client."""
    slow = threading.Event()

    def script(n, _):
        return Answer(200, SCORED, after=slow if n % 2 == 0 else None)

    async def asynchronously(url):
        async with AsyncClient(url, **options) as client:
            return list(await client.score("p", ["r"]))

    with scripted(script) as server, Client(server.url, **options) as client:
        assert list(client.score("p", ["r"])) == [1.5]
        first, second = server.asked
        assert first.port != second.port
        assert first.headers["x-request-id"] == second.headers["x-request-id"]
        assert asyncio.run(asynchronously(server.url)) == [1.5]
        slow.set()


async def test_the_asynchronous_client_asks_again_as_the_other_does():
    """Over one connection, under one id."""
    with scripted(lambda n, _: Answer(503, OVERLOADED) if n < 3 else Answer(200, SCORED)) as server:
        async with AsyncClient(server.url, retries=QUICK) as client:
            assert list(await client.score("p", ["r"])) == [1.5]
        assert len(server.asked) == 4
        assert len({(asked.headers["x-request-id"], asked.port) for asked in server.asked}) == 1


def test_an_error_survives_the_way_between_processes():
    """Ray pickles what a worker raises: class, code, field and the rest arrive."""
    sent = of_code("overloaded", "no", status=503, field="inputs", retry_after_s=2.0)
    arrived = pickle.loads(pickle.dumps(sent))
    assert (type(arrived), str(arrived), vars(arrived)) == (Busy, str(sent), vars(sent))


def test_codes_are_the_services():
    """Each that the client has a class for is one of them, and each of them is an error of some class."""
    assert set(KINDS) - {"unreachable"} <= set(BY_CODE)
    assert set(BY_CODE) >= OF_INPUTS
    assert all(isinstance(of_code(code, ""), GuerdonError) for code in BY_CODE)
