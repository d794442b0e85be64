"""The scoring calls of text-embeddings-inference: its numbers on the wire, our rewards in them."""

import math

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from guerdon_client.stubs.tei.v1 import tei_pb2, tei_pb2_grpc
from over_grpc import details
from running import serving

TEXTS = ["Flour, water, salt.", "no", "Knead it, let it rise, bake it."]
QUERY = "How do I bake bread?"


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    scorer = {"kind": "reward_model", "model": str(checkpoint("bert")), "placement": "inline", "max_tokens": 50}
    config = {
        "scorers": {"default": {**scorer, "threads": 1}},
        "limits": {"max_responses": 4},
    }
    with serving(config, tmp_path_factory.mktemp("tei"), grpc=True) as running:
        yield running


@pytest.fixture
def channel(service):
    with grpc.insecure_channel(service.grpc) as opened:
        yield opened


@pytest.fixture
def rewards(service):
    """What the native API says of responses to one prompt."""

    def ask(prompt, texts):
        answer = service.post("/v1/score", {"inputs": [{"prompt": prompt, "responses": texts}]})
        return answer.json()["data"][0]["rewards"]

    return ask


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def close(value):
    """Scores are 32 bits wide in this protocol."""
    return pytest.approx(value, rel=1e-6)


def test_predict_gives_one_score_a_text(channel, rewards):
    """Raw, or its sigmoid by default; a pair is a prompt with its response; a stream keeps its order."""
    stub = tei_pb2_grpc.PredictStub(channel)
    expected = rewards("", TEXTS)
    for text, reward in zip(TEXTS, expected, strict=True):
        raw = stub.Predict(tei_pb2.PredictRequest(inputs=text, raw_scores=True), timeout=30)
        assert [one.score for one in raw.predictions] == [close(reward)]
        squashed = stub.Predict(tei_pb2.PredictRequest(inputs=text), timeout=30)
        assert [one.score for one in squashed.predictions] == [close(sigmoid(reward))]
        assert squashed.metadata.compute_chars == len(text)
    pair = stub.PredictPair(tei_pb2.PredictPairRequest(inputs=[QUERY, TEXTS[0]], raw_scores=True), timeout=30)
    assert pair.predictions[0].score == close(rewards(QUERY, TEXTS)[0])
    asked = (tei_pb2.PredictRequest(inputs=text, raw_scores=True) for text in TEXTS)
    streamed = [answer.predictions[0].score for answer in stub.PredictStream(asked, timeout=30)]
    assert streamed == [close(reward) for reward in expected]


def test_what_was_made_of_a_text_is_told(channel, rewards):
    """Behind the answer: in which template it was, or that it was in none. In one, its turns are scored."""
    stub = tei_pb2_grpc.PredictStub(channel)
    chatml = f"<|im_start|>user\n{QUERY}<|im_end|>\n<|im_start|>assistant\n{TEXTS[0]}<|im_end|>\n"
    for text, template, reward in (
        (chatml, "chatml", rewards(QUERY, TEXTS)[0]),
        (TEXTS[0], "unknown", rewards("", TEXTS)[0]),
    ):
        asked = tei_pb2.PredictRequest(inputs=text, raw_scores=True)
        answer, call = stub.Predict.with_call(asked, timeout=30)
        assert dict(call.trailing_metadata())["x-guerdon-template"] == template
        assert answer.predictions[0].score == close(reward)


@pytest.mark.parametrize("streamed", [False, True])
def test_rerank_sorts_the_texts(streamed, channel, rewards):
    """Best first, as sigmoids unless raw scores are asked for; the texts on demand."""
    stub, expected = tei_pb2_grpc.RerankStub(channel), rewards(QUERY, TEXTS)
    for raw, texts in ((True, False), (False, True)):
        how = {"query": QUERY, "raw_scores": raw, "return_text": texts}
        if streamed:
            asked = (tei_pb2.RerankStreamRequest(text=text, **how) for text in TEXTS)
            ranks = stub.RerankStream(asked, timeout=30).ranks
        else:
            ranks = stub.Rerank(tei_pb2.RerankRequest(texts=TEXTS, **how), timeout=30).ranks
        assert [rank.index for rank in ranks] == sorted(range(3), key=lambda index: -expected[index])
        given = [expected[rank.index] for rank in ranks]
        assert [rank.score for rank in ranks] == [close(one if raw else sigmoid(one)) for one in given]
        assert [rank.text for rank in ranks if rank.HasField("text")] == [TEXTS[rank.index] for rank in ranks if texts]


def test_what_is_wrong_is_named_in_the_protocols_own_words(channel):
    """Too many texts, none, too long a one, a pair of three."""
    predict, rerank = tei_pb2_grpc.PredictStub(channel), tei_pb2_grpc.RerankStub(channel)
    long = "word " * 80
    many = (tei_pb2.RerankStreamRequest(query=QUERY, text="a") for _ in range(9))
    wrong = {
        "texts[1]": (lambda: rerank.Rerank(tei_pb2.RerankRequest(query=QUERY, texts=["a", long])), "response_too_long"),
        "texts": (lambda: rerank.Rerank(tei_pb2.RerankRequest(query=QUERY)), "invalid"),
        "texts ": (lambda: rerank.Rerank(tei_pb2.RerankRequest(query=QUERY, texts=["a"] * 5)), "too_large"),
        "texts  ": (lambda: rerank.RerankStream(many), "too_large"),
        "inputs": (lambda: predict.PredictPair(tei_pb2.PredictPairRequest(inputs=["a", "b", "c"])), "invalid"),
        "inputs ": (lambda: predict.Predict(tei_pb2.PredictRequest(inputs=long)), "response_too_long"),
    }
    for field, (call, reason) in wrong.items():
        with pytest.raises(grpc.RpcError) as refused:
            call()
        found = details(refused.value)
        assert found[ErrorInfo].reason == reason
        assert found[BadRequest].field_violations[0].field == field.strip()


def test_info_names_the_model(channel, service):
    """Its revision and its limits, as /v1/models has them."""
    info = tei_pb2_grpc.InfoStub(channel).Info(tei_pb2.InfoRequest(), timeout=10)
    (card,) = service.get("/v1/models").json()["data"]
    assert (info.model_id, info.model_sha, info.max_input_length) == ("default", card["revision"], 50)
    assert (info.model_type, info.max_client_batch_size) == (tei_pb2.MODEL_TYPE_RERANKER, 4)


NUMBERS = {
    "PredictRequest": {"inputs": 1, "truncate": 2, "raw_scores": 3, "truncation_direction": 4},
    "PredictPairRequest": {"inputs": 1, "truncate": 2, "raw_scores": 3, "truncation_direction": 4},
    "Prediction": {"score": 1, "label": 2},
    "PredictResponse": {"predictions": 1, "metadata": 2},
    "RerankRequest": {"query": 1, "texts": 2, "truncate": 3, "raw_scores": 4, "return_text": 5,
                      "truncation_direction": 6},
    "RerankStreamRequest": {"query": 1, "text": 2, "truncate": 3, "raw_scores": 4, "return_text": 5,
                            "truncation_direction": 6},
    "Rank": {"index": 1, "text": 2, "score": 3},
    "RerankResponse": {"ranks": 1, "metadata": 2},
    "Metadata": {"compute_chars": 1, "compute_tokens": 2, "total_time_ns": 3, "tokenization_time_ns": 4,
                 "queue_time_ns": 5, "inference_time_ns": 6},
}  # fmt: skip


@pytest.mark.parametrize("message", NUMBERS)
def test_field_numbers_are_those_of_the_contract(message):
    """What clients of that server send is read as they mean it (text-embeddings-inference, July 2026)."""
    fields = tei_pb2.DESCRIPTOR.message_types_by_name[message].fields
    assert {field.name: field.number for field in fields} == NUMBERS[message]
