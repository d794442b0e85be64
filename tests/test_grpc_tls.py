"""gRPC over TLS: who is let in, and what is said of files that will not do."""

import grpc
import pytest
import yaml

from certificates import certificate
from guerdon.config.load import load
from guerdon.domain.errors import NotServable
from guerdon.wiring import plan
from guerdon_client.stubs.guerdon.v1.requests_pb2 import ListModelsRequest
from guerdon_client.stubs.guerdon.v1.reward_service_pb2_grpc import RewardServiceStub
from running import serving


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Of a server and of a caller, each with its authority, and of a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, authority in (("root", None), ("server", "root"), ("staff", None), ("caller", "staff"), ("odd", None)):
        certificate(folder, name, authority)
    return folder


def config(checkpoint, files, **tls):
    named = {"certificate_file": "server.pem", "key_file": "server-key.pem", **tls}
    scorer = {"kind": "reward_model", "model": str(checkpoint("bert")), "placement": "inline", "threads": 1}
    return {
        "scorers": {"one": scorer},
        "grpc": {"tls": {key: str(files / name) for key, name in named.items()}},
    }


def listed(address, files, shows=None):
    """The models that a caller is told of; ``shows`` names its own certificate."""
    own = [(files / f"{shows}{suffix}").read_bytes() for suffix in ("-key.pem", ".pem")] if shows else (None, None)
    trusted = grpc.ssl_channel_credentials((files / "root.pem").read_bytes(), *own)
    with grpc.secure_channel(address, trusted) as channel:
        answer = RewardServiceStub(channel).ListModels(ListModelsRequest(), timeout=10)
    return [card.id for card in answer.data]


def refused(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code()


def test_a_caller_that_trusts_the_certificate_is_answered(checkpoint, files, tmp_path):
    """Encrypted, and announced as such; without encryption nothing is said."""
    with serving(config(checkpoint, files), tmp_path, grpc=True) as service:
        assert any("grpcs://" in line for line in service.printed)
        assert listed(service.grpc, files) == ["one"]
        with grpc.insecure_channel(service.grpc) as channel:
            plain = RewardServiceStub(channel)
            assert refused(lambda: plain.ListModels(ListModelsRequest(), timeout=10)) == grpc.StatusCode.UNAVAILABLE


def test_where_callers_need_a_certificate_none_else_is_answered(checkpoint, files, tmp_path):
    """One of the configured authority; neither none, nor another's."""
    with serving(config(checkpoint, files, client_ca_file="staff.pem"), tmp_path, grpc=True) as service:
        assert listed(service.grpc, files, "caller") == ["one"]
        for shows in (None, "odd"):
            code = refused(lambda shows=shows: listed(service.grpc, files, shows))
            assert code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ({"key_file": "nowhere.pem"}, r"grpc\.tls\.key_file: No such file"),
        ({"certificate_file": "names.txt"}, r"grpc\.tls\.certificate_file: .* is not in PEM form"),
    ],
)
def test_files_that_will_not_do_are_named(tls, told, checkpoint, files, tmp_path):
    """Before anything is loaded."""
    file = tmp_path / "guerdon.yaml"
    file.write_text(yaml.safe_dump(config(checkpoint, files, **tls)))
    settings, base = load(file, {})
    with pytest.raises(NotServable, match=told):
        plan(settings, base=base, cache=tmp_path)


def test_a_key_of_another_certificate_stops_the_server(checkpoint, files, tmp_path):
    """It says what may be wrong, and ends."""
    with (
        pytest.raises(AssertionError, match="certificate and key do not go together"),
        serving(config(checkpoint, files, key_file="odd-key.pem"), tmp_path, grpc=True),
    ):
        pass
