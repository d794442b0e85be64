"""What several test modules build on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from checkpoints import build_checkpoint
from guerdon.cli.main import main
from over_grpc import OverGrpc
from redis_servers import redis_server
from running import serving

settings.register_profile("beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside others")


def pytest_asyncio_loop_factories(config, item):
    """Async tests run on the loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


Checkpoints = Callable[..., Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Tiny random checkpoints by architecture and options, each built once a run."""
    root = tmp_path_factory.mktemp("checkpoints")
    built: dict[str, Path] = {}

    def build(architecture, **options):
        name = "-".join([architecture, *(f"{key}={value}" for key, value in sorted(options.items()))])
        if name not in built:
            built[name] = build_checkpoint(architecture, root / name, **options)
        return built[name]

    return build


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where converted tokenizers are kept, by plans and services: once a run, and not in the user's own folder."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(home))
        yield home / "guerdon"


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory):
    """`guerdon serve`, as it comes: the demonstration ensemble."""
    with serving(None, tmp_path_factory.mktemp("demonstration"), grpc=True) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def api(request, service):
    """The module's service over either transport: what is asked and answered is the same."""
    if request.param == "http":
        yield service
        return
    over = OverGrpc(service.grpc)
    yield over
    over.channel.close()


@pytest.fixture
def server(tmp_path):
    """A redis-server of the test's own."""
    with redis_server(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def guerdon(capfd):
    """Run a command; its exit status, standard output and standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code, out, err

    return run
