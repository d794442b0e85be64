"""The client over gRPC: the same service, the same answers."""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from certificates import certificate
from guerdon_client import (
    AsyncClient,
    Client,
    GuerdonError,
    Refused,
    Retries,
    TimedOut,
    UnknownModel,
    Unreachable,
)
from running import serving

PROMPT = "How do I bake bread?"
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "?"}]
CALLS = [
    ("score", (PROMPT, ["a", "bb"]), {"detail": "members"}),
    ("score", (TURNS, [[{"role": "assistant", "content": "c"}]]), {"model": "one"}),
    ("score", (PROMPT, ["a", "word " * 600]), {"partial": True}),
    ("score", (PROMPT, ["a", "b"]), {"aggregation": {"method": "maxmin", "groups": {"g": ["one"], "h": ["two"]}}}),
    ("compare", (PROMPT, ["a", "bb", "ccc"]), {"pairs": [(2, 0), (0, 1)]}),
    ("compare", (PROMPT, ["a", "bb", "ccc"]), {"model": "two"}),
]


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """Two tiny models and their ensemble, over both transports."""
    scorers = {
        name: {"kind": "reward_model", "model": str(checkpoint("qwen3", seed=seed)), "threads": 1,
               "calibration": {"mean": 0.0, "std": 1.0}}
        for seed, name in enumerate(["one", "two"])
    }  # fmt: skip
    config = {
        "scorers": scorers, "ensembles": {"default": {"members": ["one", "two"]}},
        "limits": {"max_inputs": 7, "max_responses": 5},
    }  # fmt: skip
    with serving(config, tmp_path_factory.mktemp("client"), grpc=True) as running:
        yield running


@pytest.fixture
def clients(service):
    with Client(service.url) as http, Client(f"grpc://{service.grpc}") as grpc:
        yield http, grpc


@pytest.mark.parametrize(("name", "given", "options"), CALLS)
async def test_both_transports_answer_alike(service, clients, name, given, options):
    """To the last digit, from both clients."""
    http, grpc = clients
    expected = await asyncio.to_thread(getattr(http, name), *given, **options)
    assert told(await asyncio.to_thread(getattr(grpc, name), *given, **options)) == told(expected)
    async with AsyncClient(f"grpc://{service.grpc}") as client:
        assert told(await getattr(client, name)(*given, **options)) == told(expected)


def told(result):
    """A result as text: errors in it have no equality of their own, and a mapping's order says nothing."""
    if isinstance(result, GuerdonError):
        return repr(vars(result))
    return json.dumps(asdict(result), sort_keys=True, default=lambda error: repr(vars(error)))


def test_ranks_cards_and_chunks_are_the_same(clients):
    """Those of many inputs, too, with errors in their places."""
    http, grpc = clients
    assert grpc.cards() == http.cards()
    theirs, ours = (client.rerank(PROMPT, ["a", "bb", "ccc"], top_n=2) for client in clients)
    assert (ours.results, ours.aggregation) == (theirs.results, theirs.aggregation)
    inputs = [{"prompt": f"{PROMPT} {i}", "responses": ["a"] * (1 + i), "metadata": {"i": i}} for i in range(12)]
    inputs[4]["responses"] = ["word " * 600]
    theirs, ours = (client.score_many(inputs, errors="return") for client in clients)
    assert [told(result) for result in ours] == [told(result) for result in theirs]
    assert isinstance(ours[4], GuerdonError)


def test_errors_are_the_same(clients):
    """Class, code, status, field."""
    seen = []
    for client in clients:
        with pytest.raises(UnknownModel, match="known: ") as unknown:
            client.score(PROMPT, ["r"], model="nobody")
        with pytest.raises(Refused) as invalid:
            client.score(PROMPT, ["r"], aggregation={"method": "nonsense"})
        with pytest.raises(Refused) as too_long:
            client.score(PROMPT, ["word " * 600])
        seen.append([
            (error.value.code, error.value.status, error.value.field, error.value.message)
            for error in (unknown, invalid, too_long)
        ])  # fmt: skip
    assert seen[0] == seen[1]


def test_what_grpc_does_not_carry_is_refused(clients):
    """Other servers' protocols are HTTP's."""
    with pytest.raises(Refused, match="over HTTP only"):
        clients[1].call("/get_reward", {"query": ["q"]})


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"detial": "members"}, "detial", "did you mean 'detail'"),
        ({"inputs": [{"prompt": "p", "respones": ["r"]}]}, "inputs[0].respones", "did you mean 'responses'"),
        ({"inputs": [{"prompt": "p", "responses": ["r", 5]}]}, "inputs[0].responses[1]", "not int"),
        ({"inputs": [{"prompt": "p", "responses": "abc"}]}, "inputs[0].responses", "a list is needed"),
        (
            {"inputs": [{"prompt": "p", "responses": [[{"content": "r", "rol": "user"}]]}]},
            "inputs[0].responses[0][0].rol",
            "did you mean 'role'",
        ),
        ({"inputs": [{"messages": ["hi"], "responses": ["r"]}]}, "inputs[0].messages[0]", "a message is needed"),
        ({"inputs": [{"prompt": ["p"], "responses": ["r"]}]}, "inputs[0].prompt", "text is needed"),
        ({"inputs": ["p"]}, "inputs[0]", "an object is needed"),
        ({"aggregation": {"methd": "mean"}}, "aggregation.methd", "did you mean 'method'"),
        ({"step": "first"}, None, "cannot be said"),
    ],
)
def test_what_protobuf_cannot_say_is_named(body, field, said):
    """By its place, with what was meant, before anything is sent."""
    with Client("grpc://127.0.0.1:9") as client, pytest.raises(Refused, match=said) as refused:
        client.call("/v1/score", body)
    assert (refused.value.code, refused.value.field) == ("invalid", field)


def test_nobody_there_and_no_time_are_told():
    """As over HTTP."""
    with Client("grpc://127.0.0.1:9", retries=Retries(attempts=2)) as nobody, pytest.raises(Unreachable):
        nobody.score(PROMPT, ["r"])


def test_no_time_is_told(service):
    """By whoever notices first."""
    with Client(f"grpc://{service.grpc}", timeout_s=0.001) as hasty, pytest.raises(TimedOut):
        hasty.score(PROMPT, ["too soon"])


def test_a_certificate_of_ones_own_is_trusted_when_named(checkpoint, tmp_path):
    """And by nobody who does not name its authority; both clients."""
    certificate(tmp_path, "root")
    certificate(tmp_path, "server", "root")
    tls = {"certificate_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server-key.pem")}
    scorer = {"kind": "reward_model", "model": str(checkpoint("bert")), "placement": "inline", "threads": 1}
    trusted = {"ca_file": str(tmp_path / "root.pem")}

    async def asynchronously(url):
        async with AsyncClient(url, **trusted) as client:
            return [card.name for card in await client.cards()]

    with serving({"scorers": {"one": scorer}, "grpc": {"tls": tls}}, tmp_path, grpc=True) as service:
        url = f"grpcs://{service.grpc}"
        with Client(url, **trusted) as client:
            assert [card.name for card in client.cards()] == asyncio.run(asynchronously(url)) == ["one"]
        with Client(url, retries=Retries(attempts=1)) as stranger, pytest.raises(Unreachable):
            stranger.cards()


def test_the_client_does_without_grpc():
    """It is loaded for such an address, and by nothing else."""
    probe = "import sys, guerdon_client; print([m for m in ('grpc', 'google.protobuf') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "[]"
