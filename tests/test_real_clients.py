"""Other projects' client libraries, as they are published, against the running service."""

import math

import pytest

from client_scripts import run
from running import serving

PROMPT = "How do I bake a loaf of bread?"
RESPONSES = ["Mix flour, water, salt and yeast, then let the dough rest.", "I cannot help with that request.", "No."]
MESSAGES = [
    {"role": "system", "content": "Answer in few words."},
    {"role": "user", "content": PROMPT},
    {"role": "assistant", "content": RESPONSES[0]},
]
PRINCIPLE = "Prefer short answers."


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """A chat reward model as the default, and one with three heads."""
    models = {"default": checkpoint("qwen3"), "aspects": checkpoint("qwen3", seed=2, num_labels=3)}
    config = {
        "scorers": {name: {"kind": "reward_model", "model": str(folder)} for name, folder in models.items()},
        "compatible": {"principle": "system"},
    }
    with serving(config, tmp_path_factory.mktemp("clients")) as running:
        yield running


def rewards(service, *responses, model="default", **conversation):
    """What the native route says."""
    body = {"model": model, "inputs": [{**conversation, "responses": list(responses)}]}
    return service.post("/v1/score", body).json()["data"][0]["rewards"]


def ranking(values):
    """Index and value, best first."""
    return [[index, values[index]] for index in sorted(range(len(values)), key=lambda index: -values[index])]


def sigmoid(values):
    return [1 / (1 + math.exp(-value)) for value in values]


def close(value):
    return pytest.approx(value, rel=1e-12)


def near(value):
    """Templated text is scored apart from the messages that it came from, next to other neighbours."""
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def flat(pairs):
    return [value for pair in pairs for value in pair]


def chatml(prompt, response):
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>"


def test_cohere_reranks(service):
    """Version 2 has scores between 0 and 1; version 1 is the native route: raw rewards, documents beside them."""
    got = run("cohere_rerank", service.url, model="default", prompt=PROMPT, responses=RESPONSES)
    raw = rewards(service, *RESPONSES, prompt=PROMPT)
    assert flat(got["v2"]) == close(flat(ranking(sigmoid(raw))[:2]))
    assert got["v2_version"] == "2"
    assert "no such model" in got["refusal"]
    assert got["v1"] == ranking(raw)
    assert got["v1_documents"] == [RESPONSES[index] for index, _ in ranking(raw)]


def test_litellm_reranks_and_completes(service):
    """Six adapters for five protocols give one order; a chat completion gives a reward."""
    case = {"model": "default", "prompt": PROMPT, "responses": RESPONSES, "messages": MESSAGES}
    got = run("litellm_calls", service.url, **case)
    raw = rewards(service, *RESPONSES, prompt=PROMPT)
    assert len(got["reranked"]) == 6
    for adapter, ranked in got["reranked"].items():
        scores = raw if adapter in ("cohere v1", "jina_ai") else sigmoid(raw)
        assert flat(ranked) == [
            expected for i, score in ranking(scores) for expected in (i, close(score), RESPONSES[i])
        ], adapter
    [reward] = rewards(service, RESPONSES[0], messages=MESSAGES[:2])
    assert got["content"] == f"reward:{reward!r}"
    assert got["logprobs"] == {"reward": reward}


def test_openai_reads_rewards(service):
    """A completion's content and logprobs name every head; an embedding is the raw reward, whatever its encoding."""
    text = chatml(PROMPT, RESPONSES[0])
    got = run("openai_sdk", service.url, model="default", messages=MESSAGES, text=text)
    [reward] = rewards(service, RESPONSES[0], messages=MESSAGES[:2])
    assert (got["content"], got["logprobs"], got["finish_reason"]) == (f"reward:{reward!r}", {"reward": reward}, "stop")
    [alone] = rewards(service, RESPONSES[0], prompt=PROMPT)
    assert got["embedding_float"] == [near(alone)]
    assert got["embedding_base64"] == [near(alone)]
    assert "no such model" in got["refusal"]
    assert set(got["models"]) == {"default", "aspects.LABEL_0", "aspects.LABEL_1", "aspects.LABEL_2"}
    several = run("openai_sdk", service.url, model="aspects", messages=MESSAGES, text=text)
    heads = {
        f"LABEL_{i}": rewards(service, RESPONSES[0], model=f"aspects.LABEL_{i}", messages=MESSAGES[:2])[0]
        for i in range(3)
    }
    assert several["logprobs"] == heads
    assert several["content"] == ",".join(f"{name}:{value!r}" for name, value in heads.items())
    assert len(several["embedding_float"]) == 3


def test_triton_infers(service):
    """Health, metadata and rewards with tensors as JSON."""
    texts = [chatml(PROMPT, response) for response in RESPONSES]
    got = run("triton_json", service.url, model="default", texts=texts)
    assert [got["live"], got["ready"], got["model_ready"], got["unknown_ready"]] == [True, True, True, False]
    assert got["server"]["name"] == "guerdon"
    assert got["model"]["name"] == "default"
    assert [tensor["name"] for tensor in got["model"]["inputs"] + got["model"]["outputs"]] == ["sentences", "rewards"]
    assert "no such model" in got["refusal"]
    assert (got["shape"], got["id"]) == ([3, 1], "one")
    assert got["rewards"] == near(rewards(service, *RESPONSES, prompt=PROMPT))


def test_rewardanything_judges(service):
    """One judgement and a batch: scores by name and the names from best to worst."""
    responses = dict(zip("ABC", RESPONSES, strict=True))
    got = run("rewardanything_judge", service.url, principle=PRINCIPLE, prompt=PROMPT, responses=responses)
    turns = [{"role": "system", "content": PRINCIPLE}, {"role": "user", "content": PROMPT}]
    scores = dict(zip("ABC", rewards(service, *RESPONSES, messages=turns), strict=True))
    assert got["healthy"] is True
    for result in (got["single"], *got["batch"]):
        assert result["scores"] == scores
        assert result["ranking"] == sorted(scores, key=lambda name: -scores[name])
    assert list(got["batch"][1]["scores"]) == ["C", "B", "A"]


def test_langchain_reranks_as_with_jina(service):
    """Rewards in order, documents with theirs, and a refusal whose reason its caller sees."""
    got = run("langchain_jina", service.url, model="default", prompt=PROMPT, responses=RESPONSES)
    expected = ranking(rewards(service, *RESPONSES, prompt=PROMPT))
    assert got["results"] == expected
    assert got["compressed"] == [[RESPONSES[index], value] for index, value in expected]
    assert "no such model" in got["refusal"]


def test_slime_reads_a_bare_number_or_an_object(service):
    """The whole body is the reward; with a key, it is found under that."""
    sample = {"prompt": MESSAGES[:2], "response": RESPONSES[0], "label": None}
    paths = ["/v1/slime/default", "/v1/slime/default?format=dict"]
    number, by_key = run("slime_remote_rm", service.url, paths=paths, sample=sample)
    [reward] = rewards(service, RESPONSES[0], messages=MESSAGES[:2])
    assert number == by_key["reward"] == reward


def test_512_new_connections_at_once_are_all_answered(service):
    """A trainer sends every finished sample at once, each on a connection of its own; each gets its own reward."""
    prompts = [f"Question {index % 64}: what is {index % 64} times seven?" for index in range(512)]
    responses = [f"It is {index}, I think." for index in range(512)]
    samples = [
        {"query": chatml(prompt, response), "prompt": chatml(prompt, "").removesuffix("<|im_end|>"), "label": "gold"}
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    got = run("openrlhf_burst", service.url, samples=samples)
    inputs = [{"prompt": p, "responses": [r]} for p, r in zip(prompts, responses, strict=True)]
    native = service.post("/v1/score", {"model": "default", "inputs": inputs, "cache": "off"}).json()["data"]
    assert got == near([item["rewards"][0] for item in native])
    assert len(set(got)) > 500
