"""Services that share a real redis-server: what they save each other, and that its failure costs nothing."""

import asyncio
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from guerdon.config.load import parse
from guerdon.domain.errors import NotServable
from guerdon.wiring import plan
from guerdon_client import Client
from redis_servers import RedisServer, redis_server
from running import serving

pytestmark = pytest.mark.alone

PROMPT = "What do you say?"


@pytest.fixture(scope="module")
def configured(checkpoint):
    """A configuration of one tiny model."""

    def make(url, **more):
        scorer = {"kind": "reward_model", "model": str(checkpoint("qwen3")), "threads": 1}
        cache = {"l1_bytes": 0, "redis": {"url": url, "probe_s": 0.3}}
        return {"scorers": {"default": scorer}, "cache": cache, "limits": {"timeout_s": 30}, **more}

    return make


def ask(service, texts, prompt=PROMPT, key=None, **more):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"inputs": [{"prompt": prompt, "responses": texts}], **more}
    return service.post("/v1/score", body, headers=headers)


def rewards(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]["rewards"]


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def texts(name, count=8):
    return [f"{name} yes {i}" for i in range(count)]


@pytest.fixture(scope="module")
def pair(configured, tmp_path_factory):
    """Two services and the Redis that they share; none keeps anything in its own memory."""
    root = tmp_path_factory.mktemp("pair")
    with redis_server(root / "redis", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        for name in ("one", "other"):
            (root / name).mkdir()
        config = configured(server.url)
        with serving(config, root / "one") as one, serving(config, root / "other") as other:
            yield server, one, other


def test_what_one_computed_the_other_finds(pair):
    """A hit that computes no token; its reward is the same to the last digit."""
    server, one, other = pair
    scored = rewards(ask(one, texts("found")))
    until(lambda: server.client().dbsize() >= 8)
    hits = other.metric("guerdon_cache_requests_total", tier="redis", result="hit")
    answer = ask(other, texts("found"))
    assert rewards(answer) == scored
    assert answer.json()["usage"] | {"tokens": 0} == {"responses": 8, "cached": 8, "tokens": 0, "tokens_computed": 0}
    assert other.metric("guerdon_cache_requests_total", tier="redis", result="hit") == hits + 8


def test_both_asked_at_once_compute_a_group_once(pair):
    """What is computed by the two together is what one alone would."""
    _, one, other = pair
    names = texts("at once", 64)

    def computed():
        return sum(each.metric("guerdon_tokens_total") for each in (one, other))

    before = computed()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda service: ask(service, names), (one, other)))
    assert rewards(answers[0]) == rewards(answers[1])
    assert computed() - before == answers[0].json()["usage"]["tokens"]


async def test_five_hundred_at_once_are_one_forward_pass(pair):
    """Identical requests: one computation, five hundred equal answers."""
    _, one, _ = pair
    body = {"inputs": [{"prompt": PROMPT, "responses": ["the very same"]}]}
    before = one.metric("guerdon_batch_items_count")
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=one.url, timeout=60, limits=limits) as client:
        answers = await asyncio.gather(*(client.post("/v1/score", json=body) for _ in range(500)))
    assert len({tuple(rewards(answer)) for answer in answers}) == 1
    assert one.metric("guerdon_batch_items_count") - before == 1


def test_a_request_may_go_without(pair):
    """`cache: off` is computed whatever is stored, and stores nothing."""
    _, one, other = pair
    first = ask(one, texts("without"), cache="off")
    assert ask(other, texts("without"), cache="read").json()["usage"]["cached"] == 0
    assert rewards(ask(other, texts("without"))) == rewards(first)
    assert ask(other, ["x"], cache="on").json()["error"]["field"] == "cache"


def test_redis_dying_and_returning_under_load_costs_no_request(configured, tmp_path):
    """Every answer is right throughout; down is seen in the metrics, and it is used again once it is back."""
    with redis_server(tmp_path / "redis") as server, serving(configured(server.url), tmp_path) as service:
        right = {text: rewards(ask(service, [text], cache="off"))[0] for text in texts("load", 50)}
        wrong, stop = [], []

        def load(worker):
            turn = worker
            while not stop:
                text = f"load yes {turn % 50}"
                answer = ask(service, [text])
                if answer.status_code != 200 or rewards(answer)[0] != pytest.approx(right[text], abs=1e-4):
                    wrong.append(answer.text)
                turn += 1
            return turn - worker

        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(load, worker * 7) for worker in range(8)]
            for end, begin in ((server.stop, server.start), (server.freeze, server.thaw)):
                time.sleep(0.5)
                end()
                until(lambda: service.metric("guerdon_cache_out") == 1)
                time.sleep(0.5)
                begin()
                until(lambda: service.metric("guerdon_cache_out") == 0)
            time.sleep(0.3)
            stop.append(True)
            assert sum(future.result() for future in running) > 20
        assert not wrong
        hits = service.metric("guerdon_cache_requests_total", tier="redis", result="hit")
        assert hits > 0
        assert service.metric("guerdon_cache_errors_total") >= 2
        ask(service, ["load yes 1"])
        until(lambda: rewards(ask(service, ["load yes 1"])) and _cached(service, "load yes 1"))


def test_every_fault_is_counted_and_costs_nothing_else(configured, tmp_path):
    """Garbage, another type, eviction, a full server, a pause, a password: right answers, and a step in a metric."""
    with redis_server(tmp_path / "redis") as server, serving(configured(server.url), tmp_path) as service:
        admin = server.client()
        right = rewards(ask(service, ["a fault"]))

        def counted(name, **labels):
            return service.metric(f"guerdon_cache_{name}_total", **labels)

        def asked(text="a fault"):
            answer = ask(service, [text])
            assert text != "a fault" or rewards(answer) == right
            return answer.json()["usage"]["cached"]

        def fault(spoil, metric, **labels):
            until(lambda: asked() == 1)
            before = counted(metric, **labels)
            spoil(next(admin.scan_iter("guerdon:1:default:default:*")))
            assert asked() == 0
            until(lambda: counted(metric, **labels) == before + 1)

        fault(lambda name: admin.set(name, b"garbage"), "requests", tier="redis", result="damaged")
        fault(lambda name: admin.set(name, admin.get(name)[:-1]), "requests", tier="redis", result="damaged")
        fault(lambda name: (admin.delete(name), admin.rpush(name, "x")), "requests", tier="redis", result="miss")
        fault(admin.delete, "requests", tier="redis", result="miss")
        until(lambda: asked() == 1)

        admin.config_set("maxmemory", "1")
        failed = counted("writes", result="failed")
        assert asked("another") == 0
        until(lambda: counted("writes", result="failed") == failed + 1)
        assert counted("errors", operation="write", kind="memory") == 1
        assert asked() == 1
        admin.config_set("maxmemory", "0")
        until(lambda: asked("another") == 1)

        admin.client_pause(700)
        assert asked() == 0
        assert counted("errors", operation="read", kind="timeout") == 1
        assert service.metric("guerdon_cache_out") == 1
        until(lambda: asked() == 1)

        admin.config_set("requirepass", "new")
        admin.client_kill_filter(_type="normal", skipme=True)
        assert asked() == 0
        time.sleep(1)
        assert (asked(), service.metric("guerdon_cache_out")) == (0, 1)
        admin.config_set("requirepass", "")
        until(lambda: asked() == 1)


def _cached(service, text):
    return ask(service, [text]).json()["usage"]["cached"] == 1


def test_redis_missing_at_the_start_keeps_nobody_waiting(configured, tmp_path):
    """Ready, serving, and told in the metrics; used once it is there."""
    server = RedisServer(tmp_path / "redis")
    try:
        with serving(configured(server.url), tmp_path) as service:
            assert service.get("/readyz").status_code == 200
            assert service.metric("guerdon_cache_out") == 1
            assert len(rewards(ask(service, texts("early")))) == 8
            server.start()
            until(lambda: service.metric("guerdon_cache_out") == 0)
            ask(service, texts("early"))
            until(lambda: server.client().dbsize() == 8)
    finally:
        server.stop()


def test_a_key_names_its_tenant_and_nobody_else_finds_its_scores(configured, guerdon, monkeypatch, tmp_path):
    """Two keys of one tenant share, another tenant computes anew; without a key nothing is answered."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.sha256").write_text(hashlib.sha256(f"key of {name}".encode()).hexdigest() + "  -\n")
    keys = {name: {"sha256_file": f"{name}.sha256", "tenant": tenant} for name, tenant in
            (("a", "red"), ("b", "red"), ("c", "blue"))}  # fmt: skip
    with (
        redis_server(tmp_path / "redis") as server,
        serving(configured(server.url, keys=keys), tmp_path) as service,
    ):
        first = ask(service, texts("mine"), key="key of a")
        until(lambda: server.client().dbsize() == 8)
        shared = ask(service, texts("mine"), key="key of b")
        apart = ask(service, texts("mine"), key="key of c")
        assert rewards(first) == rewards(shared) == rewards(apart)
        assert [answer.json()["usage"]["cached"] for answer in (first, shared, apart)] == [0, 8, 0]
        for headers in ({}, {"Authorization": "Bearer key of d"}, {"Authorization": "Basic key of a"}):
            for path in ("/v1/models", "/docs", "/openapi.json", "/nowhere"):
                refused = httpx.get(service.url + path, headers=headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
                assert refused.headers["www-authenticate"] == "Bearer"
        assert {service.get(path).status_code for path in ("/livez", "/readyz", "/metrics")} == {200}
        names = {name.decode().split(":")[2] for name in server.client().scan_iter("guerdon:*")}
        assert names == {"red", "blue"}
        with Client(service.url, api_key="key of b") as client:
            assert list(client.score(PROMPT, texts("mine"))) == rewards(first)
        status, _, err = guerdon("models", "--url", service.url)
        assert (status, "a valid key is needed" in err) == (1, True)
        monkeypatch.setenv("GUERDON_API_KEY", "key of b")
        assert guerdon("models", "--url", service.url)[0] == 0


@pytest.mark.parametrize(("text", "told"), [
    ("", "no SHA-256"), ("abc", "no SHA-256"), (None, "No such file"),
    (hashlib.sha256(b"").hexdigest(), "of no key at all"),
])  # fmt: skip
def test_a_key_that_cannot_be_is_refused_at_start(text, told, configured, tmp_path):
    """Named, before anything runs."""
    if text is not None:
        (tmp_path / "a.sha256").write_text(text)
    config = parse(configured("redis://127.0.0.1", keys={"a": {"sha256_file": "a.sha256"}}), "here")
    with pytest.raises(NotServable, match=rf"keys\.a\.sha256_file: .*{told}"):
        plan(config, base=tmp_path, cache=tmp_path)


@pytest.mark.parametrize("url", ["", None])
def test_an_empty_url_is_no_redis(url, configured):
    """So that the environment can take away what a file, or the compose file, configures."""
    assert parse(configured(url), "here").cache.redis is None


def test_another_model_under_the_same_name_finds_nothing(configured, checkpoint, tmp_path):
    """Not its weights, not its template, not its settings: what changes a score changes its key."""
    with redis_server(tmp_path / "redis") as server:
        cached = []
        for turn, changed in enumerate(({}, {}, {"append_eos": True}, {"dtype": "bfloat16"})):
            config = configured(server.url)
            config["scorers"]["default"] |= changed
            folder = tmp_path / str(turn)
            folder.mkdir()
            with serving(config, folder) as service:
                cached.append(ask(service, texts("same name")).json()["usage"]["cached"])
        assert cached == [0, 8, 0, 0]


def test_the_cache_command(configured, guerdon, tmp_path):
    """Counts by tenant and scorer, deletes one scorer's; a slip of the pen is noticed."""
    with redis_server(tmp_path / "redis", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        config = configured(server.url)
        with serving(config, tmp_path) as service:
            ask(service, texts("counted", 5))
            until(lambda: server.client().dbsize() == 5)
        file = tmp_path / "guerdon.yaml"
        status, told, _ = guerdon("cache", "stats", "--config", file)
        assert status == 0
        assert "default  default       5" in told
        assert "maxmemory_policy: allkeys-lru" in told
        assert "did you mean default?" in guerdon("cache", "flush", "--config", file, "--scorer", "defualt")[1]
        assert "5 scores deleted" in guerdon("cache", "flush", "--config", file, "--scorer", "default")[1]
        assert server.client().dbsize() == 0
    status, _, err = guerdon("cache", "stats", "--config", file)
    assert (status, "cache.redis: " in err) == (1, True)
    file.write_text(yaml.safe_dump({key: value for key, value in config.items() if key != "cache"}))
    status, _, err = guerdon("cache", "stats", "--config", file)
    assert (status, "cache.redis: the configuration names none" in err) == (1, True)


@pytest.mark.parametrize(
    ("redis", "told"),
    [
        ({"url": "http://localhost"}, "a URL is needed that begins with one of redis://"),
        ({"url": "redis://a,b"}, "one host is needed"),
        ({"url": "redis+sentinel://a:1,b:2"}, "name the service"),
        ({"url": "redis://a", "ttl": "7 days"}, "a duration is needed, such as 30s"),
        ({"url": "redis://a", "password_file": "nowhere"}, "No such file"),
        ({"url": "redis://u:s3cret@a,b"}, "one host is needed"),
        ({"url": "redis://:s3/cret@h:6379/0"}, "write / as %2F"),
        ({"url": "redis://h:port"}, "HOST:PORT is needed"),
        ({"url": "redis://h:99999"}, "HOST:PORT is needed"),
        ({"url": "redis://h/abc"}, "the number of a database"),
        ({"url": "redis://[h:1"}, "cache.redis: "),
        ({"url": "rediss://h", "tls_ca_file": "nowhere.pem"}, "nowhere.pem"),
        ({"url": "redis://a", "ttl": "99999999999d"}, "cannot be counted"),
    ],
)
def test_settings_that_cannot_be_are_told(redis, told, configured, guerdon, tmp_path):
    """With the key, and without the password."""
    config = configured("redis://a") | {"cache": {"redis": redis}}
    file = tmp_path / "guerdon.yaml"
    file.write_text(json.dumps(config))
    status, out, err = guerdon("check", "--config", file)
    assert (status, told in err, "s3cret" in out + err) == (1, True, False), err
