"""Each compatible route gives the native reward: from messages, and from text in the model's own template."""

import httpx
import pytest
from transformers import AutoTokenizer

from oracle import reference_ids, reference_reward
from running import serving

CONVERSATION = [
    {"role": "system", "content": "Answer in as few words as you need."},
    {"role": "user", "content": "How do I bake a loaf of bread?"},
    {"role": "assistant", "content": "Mix flour, water, salt and yeast, then let the dough rest."},
]
PROMPT, RESPONSE = CONVERSATION[:2], CONVERSATION[2]["content"]
OUTPUT = {"output": [{"type": "message", "content": [{"type": "output_text", "text": RESPONSE}]}]}
BOS = "<|begin_of_text|>"
MODELS = ("default", "llama")


def cut(text):
    """The prompt, to where the response begins, and the rest."""
    at = text.index(RESPONSE)
    return text[:at], text[at:]


BY_MESSAGES = {
    "vllm classify": (
        "/classify",
        {"messages": CONVERSATION, "use_activation": False},
        lambda answer: answer["data"][0]["probs"],
    ),
    "vllm pooling": (
        "/pooling",
        {"messages": CONVERSATION, "use_activation": False},
        lambda answer: answer["data"][0]["data"],
    ),
    "slime": ("/v1/slime/default", {"prompt": PROMPT, "response": RESPONSE, "label": None}, lambda answer: [answer]),
    "nim": (
        "/v1/chat/completions",
        {"messages": CONVERSATION},
        lambda answer: [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"]],
    ),
    "nemo-gym verify": (
        "/verify",
        {"responses_create_params": {"input": PROMPT}, "response": OUTPUT},
        lambda answer: [answer["reward"]],
    ),
    "nemo-gym compare": (
        "/compare",
        {"conversation_history": PROMPT, "response_objs": [OUTPUT]},
        lambda answer: answer["rewards"],
    ),
}
BY_TEXT = {
    "openrlhf": ("/get_reward?model={model}", lambda text: {"query": [text]}, lambda answer: answer["rewards"]),
    "vllm classify": (
        "/classify?model={model}",
        lambda text: {"input": text, "use_activation": False},
        lambda answer: answer["data"][0]["probs"],
    ),
    "vllm pooling": (
        "/pooling?model={model}",
        lambda text: {"input": [text], "use_activation": False},
        lambda answer: answer["data"][0]["data"],
    ),
    "sglang classify": ("/classify?model={model}", lambda text: {"text": text}, lambda answer: answer["embedding"]),
    "sglang embeddings": (
        "/v1/embeddings?model={model}",
        lambda text: {"input": text},
        lambda answer: answer["data"][0]["embedding"],
    ),
    "llama-factory": (
        "/v1/score/evaluation?model={model}",
        lambda text: {"messages": [text]},
        lambda answer: answer["scores"],
    ),
    "tei predict": (
        "/predict?model={model}",
        lambda text: {"inputs": text, "raw_scores": True},
        lambda answer: [answer[0]["score"]],
    ),
    "infinity classify": (
        "/infinity/classify?model={model}",
        lambda text: {"input": [text], "raw_scores": True},
        lambda answer: [answer["data"][0][0]["score"]],
    ),
    "slime": (
        "/v1/slime/{model}",
        lambda text: dict(zip(("prompt", "response"), cut(text), strict=True)),
        lambda answer: [answer],
    ),
    "openrlhf with prompts": (
        "/get_reward?model={model}",
        lambda text: {"query": [text], "prompts": [cut(text)[0]], "labels": None},
        lambda answer: answer["rewards"],
    ),
    "open inference": (
        "/v2/models/{model}/infer",
        lambda text: {"inputs": [{"name": "sentences", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]},
        lambda answer: answer["outputs"][0]["data"],
    ),
}


@pytest.fixture(scope="module")
def folders(checkpoint):
    """Of a model whose template writes no BOS, and of one whose template and tokenizer both write one."""
    return {"default": checkpoint("qwen3"), "llama": checkpoint("llama")}


@pytest.fixture(scope="module")
def service(folders, tmp_path_factory):
    """Both models; nothing is stored, so that each route's reward is computed for it."""
    scorers = {
        name: {"kind": "reward_model", "model": str(folder), "prefix_cache": 0} for name, folder in folders.items()
    }
    config = {"scorers": scorers, "cache": {"l1_bytes": 0}}
    with serving(config, tmp_path_factory.mktemp("equality")) as running:
        yield running


@pytest.fixture(scope="module")
def native(service):
    """The native route's reward of the conversation, by model."""
    return {
        model: service.post(
            "/v1/score", {"model": model, "inputs": [{"messages": PROMPT, "responses": [RESPONSE]}]}
        ).json()["data"][0]["rewards"]
        for model in MODELS
    }


def templated(folder):
    """The conversation as the model's own template writes it, by transformers."""
    return AutoTokenizer.from_pretrained(folder).apply_chat_template(CONVERSATION, tokenize=False)


def close(value):
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def rewards(service, path, body, read):
    answer = httpx.post(service.url + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return read(answer.json())


@pytest.mark.parametrize("model", MODELS)
def test_the_native_reward_is_the_references(native, folders, model):
    """What all the others are compared with is transformers' own."""
    assert native[model] == close(reference_reward(folders[model], reference_ids(folders[model], CONVERSATION)))


@pytest.mark.parametrize("route", BY_MESSAGES)
def test_three_messages_have_the_native_reward(service, native, route):
    """Exactly, though it is computed again."""
    assert rewards(service, *BY_MESSAGES[route]) == native["default"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("route", BY_TEXT)
def test_text_in_the_models_own_template_has_the_native_reward(service, native, folders, route, model):
    """Exactly: it is read as it stands, its control tokens are control tokens, and it gets no second BOS."""
    path, body, read = BY_TEXT[route]
    assert rewards(service, path.format(model=model), body(templated(folders[model])), read) == native[model]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("route", BY_TEXT)
def test_a_missing_or_doubled_bos_is_put_right(service, native, folders, route, count):
    """Clients send the text with its BOS, strip it, or put another before it: the model always sees one."""
    path, body, read = BY_TEXT[route]
    text = BOS * count + templated(folders["llama"]).removeprefix(BOS)
    assert rewards(service, path.format(model="llama"), body(text), read) == native["llama"]


@pytest.mark.parametrize("path", ["/classify", "/pooling"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_special_tokens_a_text_is_read_as_it_is_spelt(service, folders, path, count):
    """`add_special_tokens: false` takes away the one BOS that the model would get."""
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    text = BOS * count + templated(folders["llama"]).removeprefix(BOS)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == count
    body = {"model": "llama", "input": text, "add_special_tokens": False, "use_activation": False}
    [datum] = rewards(service, path, body, lambda answer: answer["data"])
    assert datum["probs" if path == "/classify" else "data"] == close(reference_reward(folders["llama"], ids))


@pytest.mark.parametrize("model", MODELS)
def test_token_ids_have_the_native_reward(service, native, folders, model):
    """Ids are read as they are, in vLLM's shape and in SGLang's."""
    ids = reference_ids(folders[model], CONVERSATION)
    vllm = {"model": model, "input": ids, "use_activation": False}
    assert rewards(service, "/classify", vllm, lambda answer: answer["data"][0]["probs"]) == native[model]
    sglang = {"model": model, "input_ids": [ids, ids]}
    got = rewards(service, "/classify", sglang, lambda answer: [one["embedding"] for one in answer])
    assert got == [close(native[model])] * 2
