"""A real vLLM that is killed, and one that hangs."""

import concurrent.futures
import os
import signal
import time

import httpx
import pytest
from vllm_servers import engine_of, server_group

from running import serving

QUESTION = {"prompt": "What is the capital of France?", "responses": ["Paris.", "Lyon."]}


@pytest.fixture(scope="module")
def judging(on_vllm, generator, tmp_path_factory):
    """A judge that writes for a while, over a server that is known to hang after five seconds."""
    judge = {
        "kind": "judge",
        "recipe": "rubric",
        "model": str(generator),
        "structured": False,
        "max_tokens": 1500,
        **on_vllm,
        "vllm_args": [*on_vllm["vllm_args"], "--max-model-len", "8000"],
        "hung_after_s": 5,
    }
    config = {"scorers": {"judge": judge}, "limits": {"timeout_s": 300}}
    with serving(config, tmp_path_factory.mktemp("faults"), seconds=300) as running:
        yield running


def ask(running, seed, seconds=290):
    headers = {"X-Request-Timeout-Ms": str(seconds * 1000)}
    body = {"model": "judge", "inputs": [QUESTION], "seed": seed}
    return httpx.post(f"{running.url}/v1/score", json=body, headers=headers, timeout=seconds + 10)


def answered(answer):
    """The model wrote something, which is nonsense, and no verdict."""
    return answer.status_code == 500 and answer.json()["error"]["code"] == "unparsable_verdict"


def test_a_killed_server_is_started_again_and_what_it_was_asked_is_asked_anew(judging):
    """The caller waits, and has its answer; another process gave it."""
    before = server_group(judging)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, judging, 1)
        while judging.metric("guerdon_inflight_requests") < 1:
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(before, signal.SIGKILL)
        assert answered(answer.result())
    assert server_group(judging) != before
    assert judging.metric("guerdon_worker_ends_total", reason="died") == 1


def test_a_server_whose_engine_dies_is_started_again_and_what_it_was_asked_is_asked_anew(judging):
    """As when the machine runs out of memory: the server itself still answers, for a moment."""
    before, deaths = server_group(judging), judging.metric("guerdon_worker_ends_total", reason="died")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, judging, 6)
        while judging.metric("guerdon_inflight_requests") < 1:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(engine_of(before), signal.SIGKILL)
        assert answered(answer.result())
    assert server_group(judging) != before
    assert judging.metric("guerdon_worker_ends_total", reason="died") == deaths + 1


def test_a_hung_server_costs_a_caller_its_deadline_and_is_started_again(judging):
    """The request ends when it has to; the server is found out, and the next request has its answer."""
    before = server_group(judging)
    os.killpg(before, signal.SIGSTOP)
    late = ask(judging, 2, seconds=1)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert answered(ask(judging, 3))
    assert server_group(judging) != before
    assert judging.metric("guerdon_worker_ends_total", reason="hung") == 1


def test_a_request_that_comes_to_nothing_in_time_ends_by_its_deadline(judging):
    """A second is too little for so much text; the server is well, and stays."""
    before = server_group(judging)
    late = ask(judging, 4, seconds=1)
    assert late.status_code == 504
    assert answered(ask(judging, 5))
    assert server_group(judging) == before
