"""gRPC: the same answers as over HTTP, and what only gRPC has: deadlines, streams, health, reflection."""

import hashlib
import os
import queue
import random
import re
import signal
import time
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from guerdon.domain.compatible import CompatibleSettings
from guerdon.domain.grpc_settings import GrpcSettings
from guerdon.domain.limits import Limits
from guerdon.domain.ports import ignore
from guerdon.gateway import Gateway
from guerdon.telemetry import Metrics
from guerdon.transport.dialect import Desk
from guerdon.transport.grpc_server import GrpcServer
from guerdon.transport.native import NativeApi
from guerdon_client.stubs.guerdon.v1.requests_pb2 import ListModelsRequest, ScoreRequest
from guerdon_client.stubs.guerdon.v1.reward_service_pb2 import ScoreStreamRequest
from guerdon_client.stubs.guerdon.v1.reward_service_pb2_grpc import RewardServiceStub
from over_grpc import OverGrpc, details, json_of, without_empty
from running import serving

GUIDE = (Path(__file__).parents[1] / "docs/grpc.md").read_text()
SERVED = {
    "guerdon.v1.RewardService",
    "tei.v1.Info",
    "tei.v1.Predict",
    "tei.v1.Rerank",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
}
WORDS = ["yes", "no", "bread", "Brot", "パン", "🍞", "", "\n", "rises"]


def config(checkpoint, **more):
    one = {"kind": "reward_model", "model": str(checkpoint("bert")), "max_tokens": 120, "threads": 1}
    one["calibration"] = {"mean": 0.5, "std": 2.0}
    return {
        "scorers": {"one": one, "two": {**one, "model": str(checkpoint("bert", seed=3))}},
        "ensembles": {"default": {"members": ["one", "two"]}},
        **more,
    }


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """Two small models and their ensemble, each in a child of its own."""
    made = config(
        checkpoint,
        limits={"max_body": "64KiB", "max_responses": 8, "timeout_s": 60},
        workers={"hung_after_s": 60},
    )
    with serving(made, tmp_path_factory.mktemp("grpc"), grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def tight(checkpoint, tmp_path_factory):
    """One with little room and little time."""
    made = config(checkpoint, limits={"queue_tokens": 500, "timeout_s": 5}, workers={"hung_after_s": 60})
    with serving(made, tmp_path_factory.mktemp("tight"), grpc=True) as running:
        yield running


@pytest.fixture
def channel(service):
    with grpc.insecure_channel(service.grpc) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return RewardServiceStub(channel)


class Workers:
    """Children of a running service, which can be made to stand still."""

    def __init__(self, service):
        self._pids = service.child_pids()

    def stall(self):
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def workers(service):
    """When the test ends, all of them run again."""
    until(lambda: service.get("/readyz").status_code == 200)
    found = Workers(service)
    yield found
    found.go_on()


def asking(*responses, prompt="How do I bake bread?", model="one"):
    return ScoreRequest(model=model, inputs=[{"prompt": prompt, "responses": [{"text": text} for text in responses]}])


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_http_and_grpc_agree_to_the_last_digit(service):
    """Two hundred random requests, good and bad: the same numbers, the same errors, whoever computed them."""
    rng, seen = random.Random(20), set()
    client, over_grpc = httpx.Client(base_url=service.url, timeout=60), OverGrpc(service.grpc)
    over = {"http": lambda path, body, **more: client.post(path, json=body, **more), "grpc": over_grpc.post}
    with client, over_grpc.channel:
        for index in range(200):
            path, body = random_request(rng)
            over[rng.choice(list(over))](path, body)  # from here on, scores are stored, and usage is the same
            http, grpc_ = (ask(path, body, headers={"X-Request-Id": f"r{index}"}) for ask in over.values())
            assert http.status_code == grpc_.status_code, body
            assert told(http) == told(grpc_), body
            seen.add((path, http.status_code))
    assert seen >= {(path, status) for path in ("/v1/score", "/v1/rerank", "/v1/compare") for status in (200, 422)}


def told(answer):
    """What both can say; a refused ranking has the error in other protocols' words beside it over HTTP."""
    return without_empty(answer.json() if answer.status_code == 200 else answer.json()["error"])


def random_request(rng):
    """A path, and a body that can be said in both."""
    path = rng.choice(["/v1/score", "/v1/score", "/v1/rerank", "/v1/compare"])
    model = rng.choice(["default", "default", "one", "two", "one", "default", "nobody"])
    body = {"model": model, "cache": rng.choice(["read-write", "off", "off", "read", "of"])}
    if model == "default" and rng.random() < 0.6:
        body["aggregation"] = rng.choice([
            {"method": "mean"}, {"method": "uwo", "coefficient": rng.random(), "ddof": 1}, {"method": "borda"},
            {"method": "weighted", "weights": {"one": rng.random(), "two": 1.0}}, {"coefficient": -1.0},
            {"method": "maxmin", "groups": {"x": ["one"], "y": ["two"]}}, {"method": "uow"}, {"method": "lcb"},
        ])  # fmt: skip
    if model == "default" and rng.random() < 0.3:
        body["on_member_failure"] = rng.choice(["degrade", "error"])
    if path == "/v1/rerank":
        conversation = random_conversation(rng)
        if "prompt" in conversation:
            conversation["query"] = conversation.pop("prompt")
        chosen = {"activation": "sigmoid", "return_documents": True, "top_n": 2, "partial": True}
        return path, {**body, **conversation, **{key: chosen[key] for key in chosen if rng.random() < 0.4}}
    body["inputs"] = [random_conversation(rng) for _ in range(rng.randint(1, 3))]
    if path == "/v1/score":
        chosen = {"detail": "members", "partial": True, "run": "r", "step": rng.randint(-1, 9)}
        return path, {**body, **{key: chosen[key] for key in chosen if rng.random() < 0.4}}
    if rng.random() < 0.3:
        body["inputs"][0]["pairs"] = [[1, 0], [0, rng.randint(0, 2)]]
    return path, body


def random_conversation(rng):
    def text():
        return " ".join(rng.choice(WORDS) for _ in range(150 if rng.random() < 0.03 else rng.randint(0, 9)))

    responses = [text() for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.2:
        responses[0] = [{"role": "assistant", "content": text()}]
    if rng.random() < 0.5:
        return {"prompt": text(), "responses": responses}
    turns = [{"role": rng.choice(["user", "assistant", "system", "robot"][: rng.randint(1, 4)]), "content": text()}]
    return {"messages": turns, "responses": responses}


def test_health_is_told_once_and_as_it_changes(service, channel):
    """Of the whole and of each service, as /readyz says; an unknown one is not found."""
    health = HealthStub(channel)
    for name in ("", "guerdon.v1.RewardService", "tei.v1.Rerank"):
        assert health.Check(HealthCheckRequest(service=name), timeout=10).status == HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(HealthCheckRequest(service="no.such.Service"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    watched = health.Watch(HealthCheckRequest(), timeout=60)
    assert next(watched).status == HealthCheckResponse.SERVING
    os.kill(service.child_pids()[0], signal.SIGKILL)
    assert next(watched).status == HealthCheckResponse.NOT_SERVING
    assert next(watched).status == HealthCheckResponse.SERVING
    watched.cancel()


def test_a_client_without_stubs_finds_everything_by_reflection(channel):
    """All services are listed, and a call is made from what reflection tells alone."""
    found = ProtoReflectionDescriptorDatabase(channel)
    assert set(found.get_services()) == SERVED
    method = DescriptorPool(found).FindServiceByName("guerdon.v1.RewardService").methods_by_name["Score"]
    ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/guerdon.v1.RewardService/Score",
        request_serializer=ask.SerializeToString,
        response_deserializer=answer.FromString,
    )
    asked = ask(model="one")
    asked.inputs.add(prompt="Hi").responses.add(text="Hello.")
    assert len(call(asked, timeout=30).data[0].rewards) == 1


def test_a_deadline_is_kept_and_its_work_dropped(service, stub, workers):
    """The caller hears in time, and nothing of it is left in the queue."""
    workers.stall()
    before = service.metric("guerdon_requests_total", protocol="grpc", code="504")
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as late:
        stub.Score(asking("late"), timeout=0.3)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10
    until(lambda: service.metric("guerdon_requests_total", protocol="grpc", code="504") == before + 1)
    until(lambda: service.metric("guerdon_queue_items") == 0)


def test_the_servers_own_limit_holds_where_the_caller_has_none(tight):
    """`limits.timeout_s` ends a call without a deadline, with the code that HTTP gives."""
    workers = Workers(tight)
    workers.stall()
    with grpc.insecure_channel(tight.grpc) as channel, pytest.raises(grpc.RpcError) as late:
        RewardServiceStub(channel).Score(asking("late"), timeout=60)
    workers.go_on()
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(late.value)[ErrorInfo].reason == "deadline_exceeded"


def test_a_call_that_is_cancelled_is_forgotten(service, stub, workers):
    """Counted as 499, and its work leaves the queue while the workers still stand."""
    workers.stall()
    before = service.metric("guerdon_requests_total", protocol="grpc", code="499")
    calls = [stub.Score.future(asking(f"gone {index} {'bread ' * 20}")) for index in range(6)]
    until(lambda: service.metric("guerdon_queue_items", engine="one") > 0)
    for call in calls:
        call.cancel()
    until(lambda: service.metric("guerdon_requests_total", protocol="grpc", code="499") == before + 6)
    until(lambda: service.metric("guerdon_queue_items") == 0)
    workers.go_on()
    assert len(stub.Score(asking("still here"), timeout=30).data[0].rewards) == 1


def test_overload_says_when_to_ask_again(tight):
    """UNAVAILABLE, our own code, and a RetryInfo; what was let in is answered."""
    workers = Workers(tight)
    workers.stall()
    with grpc.insecure_channel(tight.grpc) as channel:
        stub, calls = RewardServiceStub(channel), []
        while not any(call.done() for call in calls):
            calls.append(stub.Score.future(asking(f"full {len(calls)} {'bread ' * 20}"), timeout=60))
            time.sleep(0.01)
        workers.go_on()
        refused = [call for call in calls if call.exception() is not None]
        answers = [call.result() for call in calls if call not in refused]
    assert {call.code() for call in refused} == {grpc.StatusCode.UNAVAILABLE}
    found = details(refused[0])
    assert (found[ErrorInfo].reason, found[ErrorInfo].domain) == ("overloaded", "guerdon")
    assert found[RetryInfo].retry_delay.seconds >= 1
    assert answers
    assert all(len(answer.data[0].rewards) == 1 for answer in answers)


def test_a_field_at_fault_is_named(stub):
    """In a BadRequest, as the JSON error names it."""
    with pytest.raises(grpc.RpcError) as refused:
        stub.Score(ScoreRequest(model="one", inputs=[{"prompt": "Hi"}]), timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = details(refused.value)[BadRequest].field_violations
    assert violation.field == "inputs[0].responses"
    assert "at least 1" in violation.description


def test_a_message_over_the_limit_is_refused(stub):
    """`limits.max_body` bounds a message, to the byte."""
    limit, fits = 64 * 1024, asking("")
    fits.inputs[0].metadata["pad"] = "x" * 60_000
    fits.inputs[0].metadata["pad"] += "x" * (limit - fits.ByteSize())
    assert fits.ByteSize() == limit
    assert len(stub.Score(fits, timeout=30).data[0].rewards) == 1
    fits.inputs[0].metadata["pad"] += "x"
    with pytest.raises(grpc.RpcError) as refused:
        stub.Score(fits, timeout=30)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message_are_refused(channel, stub):
    """As a malformed body is; and a good request is answered right after."""
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/guerdon.v1.RewardService/Score")(b"\xff\xff\xff", timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details(refused.value)[ErrorInfo].reason == "malformed"
    assert len(stub.Score(asking("good"), timeout=30).data[0].rewards) == 1


def test_a_stream_answers_each_request_under_its_id(service, stub):
    """A thousand in one stream, one in ten of them faulty: each answered once, the faulty ones with their error."""
    sent = {f"id {index}": asking(f"{index}", *["word " * 130] * (index % 10 == 0)) for index in range(1000)}
    answers = list(stub.ScoreStream((ScoreStreamRequest(id=key, request=ask) for key, ask in sent.items()), timeout=90))
    assert sorted(answer.id for answer in answers) == sorted(sent)
    for answer in answers:
        index = int(answer.id.split()[1])
        if index % 10 == 0:
            assert answer.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert "at most 120" in answer.error.message
        else:
            assert len(answer.response.data[0].rewards) == 1
    single = stub.Score(sent["id 7"], timeout=30)
    assert single.data == next(answer for answer in answers if answer.id == "id 7").response.data


def test_a_stream_does_not_wait_for_what_came_before(stub, workers):
    """What is stored or refused is answered while earlier requests are still computed; the stream goes on."""
    known = stub.Score(asking("known before"), timeout=30)
    workers.stall()
    requests = queue.SimpleQueue()
    answers = stub.ScoreStream(iter(requests.get, None), timeout=60)
    requests.put(ScoreStreamRequest(id="slow", request=asking(f"never seen {time.time()}")))
    requests.put(ScoreStreamRequest(id="wrong", request=asking("x", model="nobody")))
    requests.put(ScoreStreamRequest(id="known", request=asking("known before")))
    early = {answer.id: answer for answer in (next(answers), next(answers))}
    assert early["known"].response.data == known.data
    assert early["wrong"].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    workers.go_on()
    assert next(answers).id == "slow"
    requests.put(None)
    assert list(answers) == []


def test_equal_requests_of_a_stream_are_computed_once(service, stub):
    """Two hundred that want the same wait for one forward pass."""
    before = service.metric("guerdon_computed_tokens_total", engine="one")
    asked = (ScoreStreamRequest(id=str(i), request=asking("all the same, please")) for i in range(200))
    answers = list(stub.ScoreStream(asked, timeout=60))
    assert len({tuple(answer.response.data[0].rewards) for answer in answers}) == 1
    once = answers[0].response.usage.tokens
    assert service.metric("guerdon_computed_tokens_total", engine="one") == before + once


def test_a_killed_worker_costs_a_stream_no_request(service, stub):
    """SIGKILL while two hundred are in flight in one stream: two hundred rewards."""
    asked = (ScoreStreamRequest(id=str(i), request=asking(f"killed {i} {'bread ' * (i % 20)}")) for i in range(200))
    answers = stub.ScoreStream(asked, timeout=90)
    got = [next(answers)]
    for pid in service.child_pids():
        os.kill(pid, signal.SIGKILL)
    got += answers
    assert sorted(int(answer.id) for answer in got) == list(range(200))
    assert all(len(answer.response.data[0].rewards) == 1 for answer in got)


def test_calls_are_counted_by_method(service, stub):
    """Under the method's full name, with HTTP's status, so that one alert watches both."""
    labels = {"protocol": "grpc", "endpoint": "/guerdon.v1.RewardService/Score", "model": "one"}
    before = service.metric("guerdon_requests_total", **labels, code="200")
    stub.Score(asking("counted"), timeout=30)
    assert service.metric("guerdon_requests_total", **labels, code="200") == before + 1


def test_without_a_key_only_health_and_reflection_answer(checkpoint, tmp_path):
    """The same keys as over HTTP, in the metadata `authorization`."""
    (tmp_path / "a.sha256").write_text(hashlib.sha256(b"key of a").hexdigest())
    made = config(checkpoint, keys={"a": {"sha256_file": "a.sha256"}})
    with serving(made, tmp_path, grpc=True) as service, grpc.insecure_channel(service.grpc) as channel:
        stub = RewardServiceStub(channel)
        assert HealthStub(channel).Check(HealthCheckRequest(), timeout=10).status == HealthCheckResponse.SERVING
        assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVED
        shown = [(("authorization", "Bearer key of b"),), (("authorization", "Basic key of a"),), ()]
        for metadata in shown:
            for call in (
                lambda metadata: stub.Score(asking("x"), timeout=10, metadata=metadata),
                lambda metadata: stub.ListModels(ListModelsRequest(), timeout=10, metadata=metadata),
                lambda metadata: list(stub.ScoreStream(iter(()), timeout=10, metadata=metadata)),
            ):
                with pytest.raises(grpc.RpcError) as refused:
                    call(metadata)
                assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
                assert details(refused.value)[ErrorInfo].reason == "unauthorized"
        mine = (("authorization", "Bearer key of a"),)
        assert len(stub.Score(asking("x"), timeout=30, metadata=mine).data[0].rewards) == 1


def test_a_stop_finishes_what_was_asked(checkpoint, tmp_path):
    """Calls and streams that were under way at SIGTERM get their answers; then the service ends."""
    made = config(checkpoint, workers={"hung_after_s": 60})
    with serving(made, tmp_path, grpc=True) as service, grpc.insecure_channel(service.grpc) as channel:
        stub, workers, requests = RewardServiceStub(channel), Workers(service), queue.SimpleQueue()
        workers.stall()
        call = stub.Score.future(asking("under way"), timeout=60)
        stream = stub.ScoreStream(iter(requests.get, None), timeout=60)
        requests.put(ScoreStreamRequest(id="a", request=asking("under way, too")))
        until(lambda: service.metric("guerdon_inflight_requests") >= 2)
        watched = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
        assert next(watched).status == HealthCheckResponse.SERVING
        service.process.terminate()
        assert [told.status for told in watched] == [HealthCheckResponse.NOT_SERVING]
        workers.go_on()
        assert len(call.result().data[0].rewards) == 1
        assert next(stream).id == "a"
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        requests.put(None)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert RetryInfo in details(ended.value)
        assert service.process.wait(30) == -signal.SIGTERM


def test_models_are_listed_as_over_http(service, stub):
    """Card for card."""
    listed = json_of(stub.ListModels(ListModelsRequest(), timeout=10))
    cards = [without_empty({**card, "created": 0}) for card in service.get("/v1/models").json()["data"]]
    assert [without_empty({**card, "created": 0}) for card in listed["data"]] == cards


async def test_while_models_load_they_are_listed_and_nothing_is_scored():
    """As over HTTP: UNAVAILABLE with the time to come back, NOT_SERVING, and the list all the same."""
    gateway, limits = Gateway({}, {}, record=ignore), Limits()
    desk = Desk(gateway, limits, CompatibleSettings(), NativeApi(gateway, limits))
    server = GrpcServer(
        desk, GrpcSettings(), None, tenants={}, started=lambda: False, unready=lambda: True, requests=Metrics([], {})
    )
    port = server.bind("127.0.0.1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = RewardServiceStub(channel)
        assert (await stub.ListModels(ListModelsRequest(), timeout=10)).object == "list"
        with pytest.raises(grpc.RpcError) as refused:
            await stub.Score(asking("early"), timeout=10)
        health = await HealthStub(channel).Check(HealthCheckRequest(), timeout=10)
    await server.stop(1)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details(refused.value)[RetryInfo].retry_delay.seconds == 2
    assert health.status == HealthCheckResponse.NOT_SERVING


def test_the_call_that_is_documented_runs(service):
    """As it stands in docs/grpc.md."""
    (snippet,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names = {}
    exec(snippet.replace("127.0.0.1:50051", service.grpc), names)
    assert len(names["answer"].data[0].rewards) == 1


def test_the_configuration_that_is_documented_is_valid():
    """Every key of it is one that the service knows."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert GrpcSettings.model_validate(yaml.safe_load(shown)["grpc"]).tls.client_ca_file == "callers-ca.pem"
