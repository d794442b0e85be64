"""How the service is reached over gRPC."""

from dataclasses import dataclass

from pydantic import ByteSize, Field

from guerdon.domain.strict import Strict


class TlsSettings(Strict):
    """Files in PEM form."""

    certificate_file: str = Field(description="the server's, with those between it and its authority")
    key_file: str = Field(description="of the certificate; without a password")
    client_ca_file: str | None = Field(None, description="whose certificates callers must show; without it, none")


class GrpcSettings(Strict):
    """Of the gRPC server, on the host of the HTTP server."""

    port: int | None = Field(None, ge=0, le=65535, description="without one there is no gRPC; 0 takes a free one")
    tls: TlsSettings | None = Field(None, description="without it, unencrypted")
    max_message: ByteSize | None = Field(None, gt=0, description="of a request; limits.max_body if left out")
    stream_in_flight: int = Field(256, gt=0, description="requests of one stream that are worked on at a time")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files of `TlsSettings` hold."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
