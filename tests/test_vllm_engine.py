"""The engine `vllm` against a scripted server: what it asks, what it makes of answers, and of there being none."""

import asyncio
import contextlib
import json
import threading

import numpy as np
import pytest

from guerdon.domain.caller import Caller, calling
from guerdon.domain.chat import Chat
from guerdon.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    NotServable,
    Overloaded,
    ResponseTooLong,
    Unavailable,
    WorkerLost,
)
from guerdon.domain.events import Dropped, WorkerDown, WorkerUp
from guerdon.domain.interest import Interest
from guerdon.domain.queries import Query
from guerdon.domain.samples import Message
from guerdon.engines.vllm_engine import VllmEngine
from guerdon.engines.vllm_http import MAX_SAVED_RETRIES, TRIES
from guerdon.engines.vllm_settings import VllmSettings
from model_server import TOO_LONG, ModelServer, Reply, chat, model_server, pooled, refusal

HELLO = Chat(messages=(Message("user", "Hello"),), max_tokens=16)


def saying(text):
    """A script that says the same to everything."""
    return lambda asked: chat(text)


@contextlib.asynccontextmanager
async def engine_of(where, /, **settings):
    """An engine that asks a server, or one at a URL, once it can; ``told`` are its events."""
    told, url = [], where if isinstance(where, str) else where.url
    given = {"model": "m", "served_as": "judge", "runner": "generate", "hung_after_s": 2.0, **settings}
    engine = VllmEngine(VllmSettings(url=url, **given), name="j", record=told.append)
    engine.told = told
    await engine.start()
    try:
        await engine.ready()
        yield engine
    finally:
        await engine.close()


def within(seconds=30.0):
    return asyncio.get_running_loop().time() + seconds


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def error_of(server, kind, **settings):
    async with engine_of(server, **settings) as engine:
        with pytest.raises(kind) as caught:
            await engine.generate(HELLO, within())
        return caught.value


async def test_an_answer_is_read_whole():
    """Text, thoughts, how it ended, and what it cost."""
    with model_server(lambda asked: chat("Well.", reasoning_content="Hm.", finish="length")) as server:
        async with engine_of(server) as engine:
            said = await engine.generate(HELLO, within())
    assert (said.text, said.reasoning, said.finish) == ("Well.", "Hm.", "length")
    assert (said.prompt_tokens, said.completion_tokens, dict(said.first)) == (7, 3, {})


async def test_the_first_token_s_alternatives_are_told_by_their_text():
    """What the form forbids is left out; tokens of equal text are one."""
    told = {"YES": -0.5, "NO": -1.0, "MAYBE": -9999.0}
    reply = chat("YES", told)
    alternatives = reply.body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    alternatives.append({"token": "NO", "logprob": -1.0, "bytes": None})
    with model_server(lambda asked: reply) as server:
        async with engine_of(server) as engine:
            said = await engine.generate(Chat(messages=HELLO.messages, max_tokens=1, alternatives=20), within())
        assert server.asked[0].body["top_logprobs"] == 20
    assert dict(said.first) == pytest.approx({"YES": -0.5, "NO": -1.0 + np.log(2)})


REFUSALS = {
    "context length": (refusal(400, TOO_LONG), ResponseTooLong, "4096"),
    "model length": (
        refusal(400, "The decoder prompt (length 9) is longer than the maximum model length of 8."),
        ResponseTooLong,
        "of 8",
    ),
    "bad request": (refusal(400, "no such option"), EngineFailed, r"\(400\): no such option"),
    "unprocessable": (Reply({"detail": "max_tokens"}, 422), EngineFailed, "max_tokens"),
    "wrong key": (Reply({"error": "Unauthorized"}, 401), EngineFailed, r"\(401\): Unauthorized"),
    "unknown model": (refusal(404, "The model `x` does not exist."), EngineFailed, "does not exist"),
    "rate limit": (refusal(429, "slow down", retry_after="7"), Overloaded, "slow down"),
    "busy": (refusal(503, "loading", retry_after="7"), Unavailable, "loading"),
    "odd retry-after": (refusal(503, "loading", retry_after="Fri, 01 Jan 2027 00:00:00 GMT"), Unavailable, "loading"),
    "bad gateway": (Reply(b"<html>Bad\n gateway</html>", 502), Unavailable, "<html>Bad gateway</html>"),
    "internal": (refusal(500, "CUDA error"), EngineFailed, "CUDA error"),
    "long words": (refusal(500, "x" * 5000), EngineFailed, r"x{300}$"),
    "no JSON": (Reply(b"<html>"), EngineFailed, "is not JSON"),
    "a list": (Reply([]), EngineFailed, "is no object"),
    "not what it says": (Reply(b"abc", headers={"content-encoding": "gzip"}), EngineFailed, "cannot be decoded"),
    "no choices": (Reply({"choices": []}), EngineFailed, "no chat completion"),
    "choices of words": (Reply({"choices": ["yes"]}), EngineFailed, "no chat completion"),
    "odd usage": (Reply({**chat("yes").body, "usage": {"total_tokens": "many"}}), EngineFailed, "usage"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_our_error_in_the_server_s_words(name):
    """Typed, with some of what it said and how long to wait."""
    reply, kind, words = REFUSALS[name]
    with model_server(lambda asked: reply) as server:
        error = await error_of(server, kind)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error
    if kind in (Overloaded, Unavailable):
        assert error.retry_after_s == (7.0 if "slow" in words or name == "busy" else 1.0)


async def test_a_server_whose_engine_died_is_asked_again_once_it_is_well():
    """vLLM answers so before it ends; to the last of three tries that is the loss of a worker, and not the answer."""
    dead = refusal(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")
    replies = iter([dead, dead, chat("at last")])
    with model_server(lambda asked: next(replies)) as server:
        async with engine_of(server) as engine:
            assert (await engine.generate(HELLO, within())).text == "at last"
    with model_server(lambda asked: dead) as server:
        await error_of(server, WorkerLost)
        assert len(server.asked) == 3


async def test_a_busy_server_is_asked_again_within_reason():
    """Twice more; then the error is the caller's."""
    replies = iter([refusal(503), refusal(503), chat("at last")])
    with model_server(lambda asked: next(replies)) as server:
        async with engine_of(server) as engine:
            assert (await engine.generate(HELLO, within())).text == "at last"
    with model_server(lambda asked: refusal(503)) as server:
        await error_of(server, Unavailable)
        assert len(server.asked) == TRIES


async def test_a_rate_limit_is_not_asked_again():
    """Who says that it is too much is not asked for more."""
    with model_server(lambda asked: refusal(429)) as server:
        await error_of(server, Overloaded)
        assert len(server.asked) == 1


async def test_retries_are_a_tenth_of_what_is_asked():
    """However many callers meet a server in trouble, it is asked little more often than they call."""
    with model_server(lambda asked: refusal(503)) as server:
        async with engine_of(server) as engine:
            asked = [engine.generate(HELLO, within()) for _ in range(200)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert len(server.asked) == 200 + MAX_SAVED_RETRIES


async def test_a_connection_that_breaks_in_the_middle_is_tried_again():
    """The answer is another connection's, or an error that a trainer's client retries."""
    breaking = Reply(chat("half").body, breaks_off=True)
    replies = iter([breaking, chat("whole")])
    with model_server(lambda asked: next(replies)) as server:
        async with engine_of(server) as engine:
            assert (await engine.generate(HELLO, within())).text == "whole"
    with model_server(lambda asked: breaking) as server:
        await error_of(server, WorkerLost)
        assert len(server.asked) == TRIES


async def test_at_the_deadline_the_server_is_let_go():
    """DeadlineExceeded, and the connection is closed, so that the server stops computing."""
    with model_server(lambda asked: Reply(hangs=True)) as server:
        async with engine_of(server) as engine:
            with pytest.raises(DeadlineExceeded):
                await engine.generate(HELLO, within(0.3))
            await until(server.hung_up.is_set)
            assert Dropped("j", "deadline", 1) in engine.told


async def test_no_more_than_so_many_are_under_way_and_so_many_wait():
    """Three at the server, five here, and the ninth is told to come back."""
    go = threading.Event()
    with model_server(lambda asked: Reply(chat("yes").body, after=go)) as server:
        async with engine_of(server, concurrency=3, max_waiting=5) as engine:
            asked = [asyncio.create_task(engine.generate(HELLO, within())) for _ in range(8)]
            await until(lambda: server.under_way == 3)
            with pytest.raises(Overloaded, match=r"5 requests wait for j; at most 5 \(max_waiting\)") as caught:
                await engine.generate(HELLO, within())
            assert caught.value.retry_after_s
            go.set()
            assert [answer.text for answer in await asyncio.gather(*asked)] == ["yes"] * 8
        assert server.most_under_way == 3
        assert len(server.asked) == 8


async def test_where_nobody_may_wait_free_turns_are_still_given():
    """`max_waiting: 0` refuses only what would have to wait."""
    go = threading.Event()
    with model_server(lambda asked: Reply(chat("yes").body, after=go)) as server:
        async with engine_of(server, concurrency=2, max_waiting=0) as engine:
            asked = [asyncio.create_task(engine.generate(HELLO, within())) for _ in range(2)]
            await until(lambda: server.under_way == 2)
            with pytest.raises(Overloaded):
                await engine.generate(HELLO, within())
            go.set()
            assert len(await asyncio.gather(*asked)) == 2
            assert (await engine.generate(HELLO, within())).text == "yes"


async def test_who_waits_past_the_deadline_leaves_the_turn_to_others():
    """The queue moves on, whoever left it and why."""
    go = threading.Event()
    with model_server(lambda asked: Reply(chat("yes").body, after=go)) as server:
        async with engine_of(server, concurrency=1) as engine:
            first = asyncio.create_task(engine.generate(HELLO, within()))
            await until(lambda: server.under_way == 1)
            late = asyncio.create_task(engine.generate(HELLO, within(0.2)))
            cancelled = asyncio.create_task(engine.generate(HELLO, within()))
            last = asyncio.create_task(engine.generate(HELLO, within()))
            with pytest.raises(DeadlineExceeded):
                await late
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            go.set()
            assert [(await one).text for one in (first, last)] == ["yes", "yes"]
        assert len(server.asked) == 2


async def test_a_caller_that_hangs_up_gives_up_its_turn_but_not_an_answer():
    """What waits is dropped; what the server computes already is finished, to be kept."""
    go = threading.Event()
    interests = [Interest(), Interest()]

    async def ask(engine, interest):
        with interest.felt():
            return await engine.generate(HELLO, within())

    with model_server(lambda asked: Reply(chat("yes").body, after=go)) as server:
        async with engine_of(server, concurrency=1) as engine:
            asked = asyncio.create_task(ask(engine, interests[0]))
            await until(lambda: server.under_way == 1)
            waits = asyncio.create_task(ask(engine, interests[1]))
            last = asyncio.create_task(engine.generate(HELLO, within()))
            await asyncio.sleep(0)
            assert interests[0].lost()
            assert not interests[1].lost()
            with pytest.raises(Cancelled):
                await waits
            go.set()
            assert [(await one).text for one in (asked, last)] == ["yes", "yes"]
            assert Dropped("j", "disconnect", 1) in engine.told
        assert len(server.asked) == 2


async def test_a_server_that_goes_away_and_comes_back():
    """What is asked meanwhile waits for it, as long as its caller does."""
    with model_server(saying("yes")) as server:
        async with engine_of(server) as engine:
            assert engine.unready is None
            server.stop()
            with pytest.raises(DeadlineExceeded):
                await engine.generate(HELLO, within(1.0))
            assert f"{server.url} cannot be reached" in engine.unready
            waits = asyncio.create_task(engine.generate(HELLO, within()))
            server.start()
            assert (await waits).text == "yes"
            assert engine.unready is None
            ends = [event for event in engine.told if isinstance(event, WorkerUp | WorkerDown)]
    assert ends == [WorkerUp("j", 0), WorkerDown("j", 0, "died"), WorkerUp("j", 0)]


async def test_a_server_that_stays_away_is_no_longer_waited_for():
    """Who waits is told so, and who comes later at once; when it is back, it is asked again."""
    with model_server(saying("yes")) as server:
        async with engine_of(server) as engine:
            server.stop()
            for _ in range(2):
                with pytest.raises(Unavailable, match="cannot be reached") as caught:
                    await engine.generate(HELLO, within())
                assert caught.value.retry_after_s == 5.0
            server.start()
            await until(lambda: engine.unready is None)
            assert (await engine.generate(HELLO, within())).text == "yes"


async def test_a_server_that_comes_back_with_another_model_is_waited_for():
    """Somebody is mending it: only what was never right is given up."""
    with model_server(saying("yes")) as server:
        async with engine_of(server) as engine:
            server.stop()
            server.models = ("another",)
            with pytest.raises(DeadlineExceeded):
                await engine.generate(HELLO, within(0.5))
            server.start()
            await until(lambda: "serves no judge; it serves another" in (engine.unready or ""))
            server.models = ("another", "judge")
            assert (await engine.generate(HELLO, within())).text == "yes"


async def test_a_server_that_is_not_ready_yet_is_waited_for():
    """Neither an unwell one nor one that cannot list its models yet is refused for ever."""
    server = ModelServer(saying("yes")).start()
    server.well, server.lists = Reply(status=503), Reply(status=503)
    try:
        settings = VllmSettings(url=server.url, model="m", served_as="judge", runner="generate")
        engine = VllmEngine(settings, name="j", record=lambda event: None)
        await engine.start()
        await until(lambda: "/health answers 503" in engine.unready)
        server.well = Reply()
        await until(lambda: "/v1/models" in engine.unready)
        server.lists = Reply()
        await engine.ready()
        assert (await engine.generate(HELLO, within())).text == "yes"
        await engine.close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"models": ("a", "b")}, "serves no judge; it serves a, b"),
        ({"key": "secret"}, r"answers 401: is the key right \(api_key_file\)"),
    ],
)
async def test_a_server_that_will_never_do_is_told_at_once(about, words):
    """With what is known of it."""
    with model_server(saying("yes"), **about) as server, pytest.raises(NotServable, match=words):
        async with engine_of(server):
            pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::", "http://"])
async def test_a_url_that_leads_nowhere_is_told(url):
    """After the time that a server is given to start."""

    with pytest.raises(NotServable, match=r"not ready within 0\.5 s"):
        async with engine_of(url, start_timeout_s=0.5):
            pass


async def test_the_key_is_shown_with_every_request():
    """And at a URL that ends in /v1, as OpenAI's clients have it, too."""
    with model_server(saying("yes"), key="secret") as server:
        async with engine_of(f"{server.url}/v1/", api_key="secret") as engine:
            assert (await engine.generate(HELLO, within())).text == "yes"
        assert server.asked[0].path == "/v1/chat/completions"


SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}}
FULL = Chat(
    messages=(Message("system", "Judge."), Message("user", "Hello")),
    max_tokens=5,
    temperature=0.5,
    top_p=0.9,
    seed=3,
    stop=("END",),
    schema=json.dumps(SCHEMA),
)


async def body_of(asked_for, dialect, tenant="default"):
    with model_server(saying("yes")) as server:
        async with engine_of(server, server=dialect) as engine:
            with calling(Caller(tenant)):
                await engine.generate(asked_for, within())
        return server.asked[0].body


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "openai"])
async def test_what_every_dialect_is_sent(dialect):
    """OpenAI's own fields, and nothing that was not asked for."""
    body = await body_of(FULL, dialect)
    assert body["messages"] == [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Hello"}]
    expected = {"model": "judge", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["END"]}
    assert body.items() >= expected.items()
    bare = await body_of(HELLO, dialect)
    assert set(bare) - {"cache_salt"} == {"model", "messages", "max_tokens", "temperature", "top_p"}


async def test_each_dialect_s_way_of_holding_answers_to_a_form():
    """JSON schemas everywhere; choices as structured output, as an expression, or not at all."""
    chosen = Chat(messages=HELLO.messages, max_tokens=1, choices=("YES", "NO"))
    assert (await body_of(FULL, "vllm"))["structured_outputs"]["json"] == SCHEMA
    assert (await body_of(chosen, "vllm"))["structured_outputs"] == {"choice": ["YES", "NO"]}
    for dialect in ("sglang", "openai"):
        form = (await body_of(FULL, dialect))["response_format"]
        assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", SCHEMA)
    assert (await body_of(chosen, "sglang"))["regex"] == "(YES|NO)"
    assert not {"regex", "structured_outputs", "response_format"} & set(await body_of(chosen, "openai"))


async def test_tenants_share_no_prefixes_and_are_not_named():
    """Equal for one tenant, different for two, and no word of who it is; other servers get none."""
    salts = [(await body_of(HELLO, "vllm", tenant))["cache_salt"] for tenant in ("acme", "acme", "other")]
    assert salts[0] == salts[1] != salts[2]
    assert "acme" not in salts[0]
    for dialect in ("sglang", "openai"):
        assert "cache_salt" not in await body_of(HELLO, dialect)


def logits(ids):
    """What the scripted head makes of tokens."""
    return [float(sum(ids)), float(len(ids))]


def refuses_long(asked):
    """Pools, but not where a sequence has more than four tokens."""
    if any(len(ids) > 4 for ids in asked.body["input"]):
        return refusal(400, TOO_LONG)
    return pooled([logits(ids) for ids in asked.body["input"]])


async def test_pooled_outputs_come_in_order_and_a_refused_sequence_spoils_no_neighbour():
    """Seventy sequences, two of them too long: each has its own answer."""
    lengths = [1 + at % 3 for at in range(70)]
    lengths[5] = lengths[40] = 9
    queries = [Query.of([at] * length) for at, length in enumerate(lengths)]
    with model_server(refuses_long) as server:
        async with engine_of(server, runner="pooling") as engine:
            answers = await engine.answer(queries, within())
        assert {asked.path for asked in server.asked} == {"/pooling"}
        sent = server.asked[0].body
    assert sent.items() >= {"use_activation": False, "add_special_tokens": False, "task": "classify"}.items()
    for at, (answer, length) in enumerate(zip(answers, lengths, strict=True)):
        if length > 4:
            assert isinstance(answer, ResponseTooLong)
        else:
            assert answer.tolist() == logits([at] * length)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply({"data": [{"index": 0, "data": "AAA"}]}), "no pooled outputs"),
        (Reply({"data": []}), "0 outputs for 1"),
        (Reply({"object": "list"}), "no pooled outputs"),
        (pooled([[1.0], [2.0]]), "2 outputs for 1"),
    ],
)
async def test_pooled_outputs_that_are_none(reply, words):
    """The query's error."""
    with model_server(lambda asked: reply) as server:
        async with engine_of(server, runner="pooling") as engine:
            (answer,) = await engine.answer([Query.of([1, 2])], within())
    assert isinstance(answer, EngineFailed)
    assert words in answer.message


async def test_outputs_of_every_token():
    """[tokens, labels], flattened."""
    with model_server(lambda asked: pooled([[[1.0], [2.0], [3.0]]])) as server:
        async with engine_of(server, runner="pooling", per_token=True) as engine:
            (answer,) = await engine.answer([Query.of([1, 2, 3])], within())
        assert server.asked[0].body["task"] == "token_classify"
    assert answer.tolist() == [1.0, 2.0, 3.0]


async def test_log_probabilities_of_each_token_but_the_first():
    """Those of the tokens that were sent, not of the likeliest."""
    told = [None, {"5": {"logprob": -1.5}, "9": {"logprob": -0.1}}, {"6": {"logprob": -2.5}}]
    with model_server(lambda asked: Reply({"choices": [{"prompt_logprobs": told}]})) as server:
        async with engine_of(server) as engine:
            assert await engine.log_probabilities([4, 5, 6], within()) == [-1.5, -2.5]
            with pytest.raises(EngineFailed, match="log-probabilities"):
                await engine.log_probabilities([4, 5], within())
        assert server.asked[0].body.items() >= {"prompt": [4, 5, 6], "prompt_logprobs": 0}.items()


async def test_a_hung_server_at_a_url_is_unready_until_it_answers_again():
    """Its health is asked for with a limit of its own, whatever callers allow."""
    go = threading.Event()
    with model_server(lambda asked: Reply(breaks_off=True)) as server:
        async with engine_of(server, hung_after_s=0.3) as engine:
            server.well = Reply(after=go)
            with pytest.raises((DeadlineExceeded, WorkerLost)):
                await engine.generate(HELLO, within(3.0))
            await until(lambda: "no answer from" in (engine.unready or ""))
            server.well = Reply()
            go.set()
            await until(lambda: engine.unready is None)
            downs = [event.reason for event in engine.told if isinstance(event, WorkerDown)]
    assert downs[0] == "hung"
