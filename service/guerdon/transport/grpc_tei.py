"""The scoring calls of a text-embeddings-inference server, answered by the model ``default``."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from guerdon.domain import trace
from guerdon.domain.caller import Caller, calling
from guerdon.domain.errors import DeadlineExceeded, Invalid, ServiceError, TooLarge
from guerdon.domain.samples import Sample, assistant, user
from guerdon.transport.activation import sigmoid
from guerdon.transport.compat.texts import TEMPLATE_HEADER, Reading
from guerdon.transport.dialect import Desk
from guerdon.transport.grpc_calls import Call
from guerdon.transport.grpc_messages import read
from guerdon.transport.grpc_native import checked
from guerdon.transport.native import Json
from guerdon.transport.schemas import RerankRequest
from guerdon_client.stubs.tei.v1 import tei_pb2

MODEL = "default"
LABEL = "LABEL_0"
"""What a classifier with one output calls it where nobody gave it a name."""


class TeiCalls:
    """Each takes one request's bytes, or a stream of them. Raises ServiceError."""

    def __init__(self, desk: Desk) -> None:
        self._gateway, self._limits, self._compatible, self._api = desk

    async def info(self, call: Call, raw: bytes) -> tei_pb2.InfoResponse:
        """``Info``."""
        model = self._gateway.model(MODEL)
        return tei_pb2.InfoResponse(
            version=version("guerdon"),
            model_id=model.name,
            model_sha=model.revision,
            model_type=tei_pb2.MODEL_TYPE_RERANKER,
            max_input_length=model.max_tokens or 0,
            max_client_batch_size=self._limits.max_responses,
        )

    async def predict(self, call: Call, raw: bytes) -> tei_pb2.PredictResponse:
        """``Predict``."""
        asked = read(raw, tei_pb2.PredictRequest)
        return await self._predicted(call, [asked.inputs], raw_scores=asked.raw_scores)

    async def predict_pair(self, call: Call, raw: bytes) -> tei_pb2.PredictResponse:
        """``PredictPair``: a prompt with its response, or a text alone."""
        asked = read(raw, tei_pb2.PredictPairRequest)
        return await self._predicted(call, asked.inputs, raw_scores=asked.raw_scores)

    async def rerank(self, call: Call, raw: bytes) -> tei_pb2.RerankResponse:
        """``Rerank``."""
        return await self._ranked(call, read(raw, tei_pb2.RerankRequest))

    async def rerank_stream(self, call: Call, requests: AsyncIterator[bytes]) -> tei_pb2.RerankResponse:
        """``RerankStream``."""
        gathered = tei_pb2.RerankRequest()
        try:
            async with asyncio.timeout_at(call.deadline):
                async for raw in requests:
                    asked = read(raw, tei_pb2.RerankStreamRequest)
                    if not gathered.texts:
                        gathered.query, gathered.raw_scores = asked.query, asked.raw_scores
                        gathered.return_text = asked.return_text
                    gathered.texts.append(asked.text)
                    if len(gathered.texts) > self._limits.max_responses:
                        most = self._limits.max_responses
                        raise TooLarge(f"texts: at most {most} (limits.max_responses)", field="texts")
        except TimeoutError as error:
            raise DeadlineExceeded("the last text did not come in time") from error
        return await self._ranked(call, gathered)

    async def _predicted(self, call: Call, texts: Sequence[str], *, raw_scores: bool) -> tei_pb2.PredictResponse:
        started, call.model = time.perf_counter_ns(), MODEL
        sample = self._sample(call, texts)
        with calling(Caller(call.tenant)):
            rewards = await self._gateway.score(MODEL, [sample], deadline=call.deadline)
        ((reward,),) = rewards.samples
        if isinstance(reward, ServiceError):
            raise reward.at("inputs")
        score = reward.value if raw_scores else sigmoid(reward.value)
        return tei_pb2.PredictResponse(
            predictions=[tei_pb2.Prediction(score=score, label=LABEL)], metadata=_metadata(texts, started)
        )

    def _sample(self, call: Call, texts: Sequence[str]) -> Sample:
        """One templated text, or a prompt with its response. Raises Invalid."""
        match texts:
            case [text]:
                members = self._gateway.model(MODEL).members
                reading = Reading(members, splits=self._compatible.templated_text == "split")
                sample = reading.sample(text, "inputs")
                call.metadata[TEMPLATE_HEADER] = ", ".join(sorted(reading.told))
                return sample
            case [prompt, response]:
                return Sample(messages=user(prompt), responses=(assistant(response),))
        raise Invalid(f"inputs: {len(texts)} texts, where one or two are needed", field="inputs")

    async def _ranked(self, call: Call, asked: tei_pb2.RerankRequest) -> tei_pb2.RerankResponse:
        started, call.model = time.perf_counter_ns(), MODEL
        activation = "none" if asked.raw_scores else "sigmoid"
        given: Json = {"query": asked.query, "responses": list(asked.texts), "activation": activation}
        with calling(Caller(call.tenant)), _told_as("responses", "texts"):
            body = checked({"model": MODEL, **given}, RerankRequest)
            answer = await self._api.rerank(body, request_id=call.id, deadline=call.deadline)
        ranks = [
            tei_pb2.Rank(
                index=result["index"],
                score=result["relevance_score"],
                text=asked.texts[result["index"]] if asked.return_text else None,
            )
            for result in answer["results"]
        ]
        return tei_pb2.RerankResponse(ranks=ranks, metadata=_metadata([asked.query, *asked.texts], started))


@contextmanager
def _told_as(ours: str, theirs: str) -> Iterator[None]:
    """Name the field at fault as the protocol does."""
    try:
        yield
    except ServiceError as error:
        if error.field is None or not error.field.startswith(ours):
            raise
        message, field = error.message.replace(ours, theirs), error.field.replace(ours, theirs, 1)
        raise type(error)(message, field=field, retry_after_s=error.retry_after_s) from error


def _metadata(texts: Sequence[str], started: int) -> tei_pb2.Metadata:
    spent = trace.current()

    def nanoseconds(stage: str) -> int:
        return round(spent.seconds.get(stage, 0.0) * 1e9)

    return tei_pb2.Metadata(
        compute_chars=sum(map(len, texts)),
        compute_tokens=spent.tokens_computed,
        total_time_ns=time.perf_counter_ns() - started,
        tokenization_time_ns=nanoseconds("tokenize"),
        queue_time_ns=nanoseconds("queue"),
        inference_time_ns=nanoseconds("forward"),
    )
