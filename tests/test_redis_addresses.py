"""The ways to a Redis: a socket file, TLS, Sentinel, Cluster."""

import os
import subprocess

from guerdon.domain.events import StoreMoved
from redis_servers import RedisServer, redis_server, tools
from redis_stores import KEYS, SHELF, score, store, until, written


async def test_a_socket_file_will_do(tmp_path):
    """redis+unix."""
    path = tmp_path / "redis.sock"
    with redis_server(tmp_path / "redis", "--unixsocket", str(path)):
        async with store(f"redis+unix://{path}?db=1", tmp_path) as (made, _):
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            assert KEYS[0] in await made.get(SHELF, KEYS)


def _run(*command):
    """A tool that the tests need."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_encrypted_and_only_to_the_right_server(tmp_path):
    """rediss with the authority that signed its certificate; without it, nothing is sent."""
    folder = tmp_path / "tls"
    folder.mkdir()
    _run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
    )  # fmt: skip
    port = RedisServer(tmp_path / "none").port
    options = ["--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file"]
    options += [str(folder / "key.pem"), "--tls-auth-clients", "no"]
    url = f"rediss://127.0.0.1:{port}/0"
    with redis_server(tmp_path / "redis", *options):
        async with store(url, tmp_path, tls_ca_file="tls/cert.pem") as (made, events):
            made.put(SHELF, {KEYS[0]: score()})
            await written(made)
            assert KEYS[0] in await made.get(SHELF, KEYS)
            assert StoreMoved(True) not in events
        async with store(url, tmp_path) as (made, events):
            assert events[-1] == StoreMoved(True)


async def test_a_sentinel_tells_where_the_master_is(tmp_path):
    """redis+sentinel."""
    with redis_server(tmp_path / "redis") as master:
        folder = tmp_path / "sentinel"
        folder.mkdir()
        (folder / "sentinel.conf").write_text(f"sentinel monitor scores 127.0.0.1 {master.port} 1\n")
        with redis_server(folder, sentinel=True) as sentinel:
            async with store(f"redis+sentinel://127.0.0.1:{sentinel.port}/scores/0", tmp_path) as (made, events):
                made.put(SHELF, {KEYS[0]: score()})
                await written(made)
                assert KEYS[0] in await made.get(SHELF, KEYS)
                assert StoreMoved(True) not in events


async def test_a_cluster_keeps_scores_on_all_its_servers(tmp_path):
    """redis+cluster: three masters, each with its share."""
    ports = [RedisServer(tmp_path / "none").port for _ in range(3)]
    servers = []
    try:
        for i, port in enumerate(ports):
            about = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
            about += ["--cluster-port", str(RedisServer(tmp_path / "none").port)]
            servers.append(RedisServer(tmp_path / f"node{i}", *about, port=port).start())
        hosts = [f"127.0.0.1:{port}" for port in ports]
        _run(str(tools() / "redis-cli"), "--cluster", "create", *hosts, "--cluster-yes")
        await until(lambda: all(each.client().cluster("info")["cluster_state"] == "ok" for each in servers), 30)
        scores = {os.urandom(32): score(float(i)) for i in range(300)}
        async with store(f"redis+cluster://{','.join(hosts)}", tmp_path, timeout_ms=500) as (made, events):
            assert StoreMoved(True) not in events
            made.put(SHELF, scores)
            await written(made)
            assert len(await made.get(SHELF, list(scores))) == 300
            assert await made.claim(SHELF, KEYS) == set(KEYS)
        sizes = [each.client().dbsize() for each in servers]
        assert min(sizes) > 50
    finally:
        for each in servers:
            each.stop()
