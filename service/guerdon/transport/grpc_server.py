"""The gRPC server: its services, its port, its end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR as HEALTH
from grpc_reflection.v1alpha import reflection

from guerdon.domain.errors import NotServable
from guerdon.domain.grpc_settings import Certificates, GrpcSettings
from guerdon.transport.dialect import Desk
from guerdon.transport.grpc_calls import Front
from guerdon.transport.grpc_health import Health
from guerdon.transport.grpc_native import NativeCalls
from guerdon.transport.grpc_streams import ScoreStreams
from guerdon.transport.grpc_tei import TeiCalls
from guerdon.transport.observed import Requests
from guerdon_client.stubs.guerdon.v1.reward_service_pb2 import DESCRIPTOR as NATIVE
from guerdon_client.stubs.tei.v1.tei_pb2 import DESCRIPTOR as TEI

SERVICES = tuple(service.full_name for file in (NATIVE, TEI, HEALTH) for service in file.services_by_name.values())
CONNECTION = {
    "grpc.so_reuseport": 0,  # a second service on the port is an error, not a partner
    "grpc.keepalive_time_ms": 60_000,  # trainers are silent for minutes; what stands between forgets them sooner
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,  # so often may they ask, too
    "grpc.max_send_message_length": -1,
}


class GrpcServer:
    """Answers over gRPC what the gateway can. To be made, and used, in a running event loop."""

    def __init__(
        self,
        desk: Desk,
        settings: GrpcSettings,
        certificates: Certificates | None,
        *,
        tenants: Mapping[bytes, str],
        started: Callable[[], bool],
        unready: Callable[[], object],
        requests: Requests,
    ) -> None:
        self._certificates, self._closing = certificates, asyncio.Event()
        size = int(settings.max_message or desk.limits.max_body)
        options = {**CONNECTION, "grpc.max_receive_message_length": size}
        self._server = grpc.aio.server(options=list(options.items()))
        front = Front(limits=desk.limits, tenants=tenants, started=started, requests=requests)
        native = NativeCalls(desk.native)
        streams = ScoreStreams(
            front, native, method=f"/{REWARDS}/ScoreStream", in_flight=settings.stream_in_flight, closing=self._closing
        )
        self._server.add_generic_rpc_handlers((_rewards(front, native, streams), *_tei(front, TeiCalls(desk))))
        health_pb2_grpc.add_HealthServicer_to_server(Health(SERVICES, unready, self._closing), self._server)
        reflection.enable_server_reflection((*SERVICES, reflection.SERVICE_NAME), self._server)

    def bind(self, host: str, port: int) -> int:
        """Take the port, or any free one where it is 0; which it is. Raises NotServable."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificates is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(self._certificates))
        except RuntimeError as error:
            why = "" if self._certificates is None else ", or its certificate and key do not go together"
            raise NotServable(f"gRPC cannot listen on {address}: the port is taken{why}") from error

    async def start(self) -> None:
        """Let callers in."""
        await self._server.start()

    async def stop(self, within_s: float) -> None:
        """Let nobody in any more, finish what was asked, and end what takes longer."""
        self._closing.set()
        await self._server.stop(within_s)


REWARDS = "guerdon.v1.RewardService"


def _rewards(front: Front, native: NativeCalls, streams: ScoreStreams) -> grpc.GenericRpcHandler:
    single = {"Score": native.score, "Rerank": native.rerank, "Compare": native.compare}
    handlers = {name: _unary(front.single(f"/{REWARDS}/{name}", work)) for name, work in single.items()}
    handlers["ListModels"] = _unary(front.single(f"/{REWARDS}/ListModels", native.models, loaded=False))
    handlers["ScoreStream"] = grpc.stream_stream_rpc_method_handler(streams.serve, response_serializer=_sent)
    return grpc.method_handlers_generic_handler(REWARDS, handlers)


def _tei(front: Front, tei: TeiCalls) -> Sequence[grpc.GenericRpcHandler]:
    predict = {
        name: _unary(front.single(f"/tei.v1.Predict/{name}", work))
        for name, work in {"Predict": tei.predict, "PredictPair": tei.predict_pair}.items()
    }
    for name, work in {"PredictStream": tei.predict, "PredictPairStream": tei.predict_pair}.items():
        serve = front.one_by_one(f"/tei.v1.Predict/{name}", work)
        predict[name] = grpc.stream_stream_rpc_method_handler(serve, response_serializer=_sent)
    stream = front.single("/tei.v1.Rerank/RerankStream", tei.rerank_stream)
    rerank = {
        "Rerank": _unary(front.single("/tei.v1.Rerank/Rerank", tei.rerank)),
        "RerankStream": grpc.stream_unary_rpc_method_handler(stream, response_serializer=_sent),
    }
    info = {"Info": _unary(front.single("/tei.v1.Info/Info", tei.info, loaded=False))}
    services = {"tei.v1.Info": info, "tei.v1.Predict": predict, "tei.v1.Rerank": rerank}
    return [grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items()]


def _unary(serve: Callable[..., Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    """Requests come as bytes: what is wrong with them is then told as everything else is."""
    return grpc.unary_unary_rpc_method_handler(serve, response_serializer=_sent)


def _sent(message: Message) -> bytes:
    return message.SerializeToString()


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(certificates.key, certificates.chain)],
        root_certificates=certificates.client_ca,
        require_client_auth=certificates.client_ca is not None,
    )
