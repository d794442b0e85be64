"""Reads the certificates that the gRPC server shows, and those that it asks for."""

from pathlib import Path

from guerdon.domain.errors import NotServable
from guerdon.domain.grpc_settings import Certificates, TlsSettings


def load_certificates(settings: TlsSettings | None, base: Path) -> Certificates | None:
    """What the files hold. Raises NotServable for one that is not there, or is no PEM."""
    if settings is None:
        return None
    return Certificates(
        chain=_pem(settings.certificate_file, base, "certificate_file"),
        key=_pem(settings.key_file, base, "key_file"),
        client_ca=None if settings.client_ca_file is None else _pem(settings.client_ca_file, base, "client_ca_file"),
    )


def _pem(file: str, base: Path, setting: str) -> bytes:
    try:
        content = (base / file).read_bytes()
    except OSError as error:
        raise NotServable(f"grpc.tls.{setting}: {error.strerror}: {file}") from error
    if b"-----BEGIN" not in content:
        raise NotServable(f"grpc.tls.{setting}: {file} is not in PEM form")
    return content
