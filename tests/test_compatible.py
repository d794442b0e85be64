"""What the routes of other protocols share: which model, what is made of templated text, errors, activation."""

import math
import re

import pytest
import yaml

from checkpoint_tokenizers import tokenizer_of
from running import serving

PROMPT, RESPONSE = "Name a colour.", "Blue, like the sky."
TURNS = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSE}]
CHATML = tokenizer_of("qwen").apply_chat_template(TURNS, tokenize=False)


@pytest.fixture(scope="module")
def service(checkpoint, tmp_path_factory):
    """A decoder with a chat template, an encoder that reads pairs, one with three outputs, and both in ensembles."""
    inline = {"kind": "reward_model", "placement": "inline", "calibration": {"mean": 0.1, "std": 2.0}}
    config = {
        "scorers": {
            "chat": {**inline, "model": str(checkpoint("llama"))},
            "pairs": {**inline, "model": str(checkpoint("bert"))},
            "three": {"kind": "reward_model", "placement": "inline", "model": str(checkpoint("bert", num_labels=3))},
        },
        "ensembles": {"default": {"members": ["chat", "pairs"]}, "wide": {"members": ["chat", "pairs"]}},
        "aliases": {"acme/reward-7b": "chat", "acme/aspects": "three"},
        "limits": {"max_total_responses": 20, "max_responses": 15},
    }
    with serving(config, tmp_path_factory.mktemp("compatible")) as running:
        yield running


def native(service, model, prompt=PROMPT, response=RESPONSE):
    body = {"model": model, "inputs": [{"prompt": prompt, "responses": [response]}]}
    return service.post("/v1/score", body).json()["data"][0]["rewards"][0]


def close(value):
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def test_the_model_comes_from_the_body_or_the_url(service):
    """By name or alias; `default` where neither says."""
    body = {"messages": TURNS, "use_activation": False}

    def asked(path, **more):
        return service.post(path, {**body, **more}).json()["data"][0]["probs"][0]

    assert asked("/classify", model="acme/reward-7b") == native(service, "chat")
    assert asked("/classify?model=pairs") == native(service, "pairs")
    assert asked("/classify") == native(service, "default")
    inputs = [{"prompt": PROMPT, "responses": [RESPONSE]}]
    counted = {"endpoint": "/v1/score", "model": "pairs"}
    before = service.metric("guerdon_requests_total", **counted)
    assert service.post("/v1/score?model=pairs", {"inputs": inputs}).json()["model"] == "pairs"
    assert service.post("/v1/score?model=pairs", {"inputs": inputs, "model": "chat"}).json()["model"] == "chat"
    assert service.metric("guerdon_requests_total", **counted) == before + 1
    assert service.post("/v1/rerank?model=nobody", {"query": PROMPT, "documents": ["a"]}).status_code == 404


def test_a_model_that_is_not_served_is_named_in_the_clients_own_error(service):
    """vLLM's, TEI's, Cohere's and Jina's, Open Inference's, and the service's own."""
    query = {"model": "x", "query": "a"}
    told = "no such model; known: chat, default, pairs, three.LABEL_0, three.LABEL_1, three.LABEL_2, wide"
    cases = {
        "/classify": ({"model": "x", "messages": TURNS}, lambda body: body["error"]["message"]),
        "/rerank": ({**query, "documents": ["b"]}, lambda body: body["detail"]),
        "/v2/rerank": ({**query, "documents": ["b"]}, lambda body: body["message"]),
        "/predict": ({"model": "x", "inputs": "a"}, lambda body: body["error"]),
        "/v2/models/x/infer": (
            {"inputs": [{"name": "sentences", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
            lambda body: body["error"],
        ),
        "/get_reward?model=x": ({"query": ["a"]}, lambda body: body["error"]["message"]),
    }
    for path, (body, message) in cases.items():
        answer = service.post(path, body)
        assert answer.status_code == 404, path
        assert sorted(message(answer.json()).split()) == sorted(told.split()), path


def test_protocols_that_meet_at_a_path_are_told_apart_by_their_keys(service):
    """/v1/score is the native protocol's, vLLM's and SGLang's; /classify vLLM's and SGLang's; /rerank TEI's as well."""
    value = native(service, "chat")
    vllm = service.post("/v1/score", {"model": "chat", "text_1": PROMPT, "text_2": [RESPONSE], "use_activation": False})
    sglang = service.post("/v1/score", {"model": "chat", "query": PROMPT, "items": [RESPONSE]})
    assert vllm.json()["data"][0]["score"] == sglang.json()["scores"][0][0] == value
    tei = service.post("/rerank", {"model": "chat", "query": PROMPT, "texts": [RESPONSE], "raw_scores": True})
    assert tei.json() == [{"index": 0, "score": value}]


def test_neither_protocols_keys_is_the_first_ones_error(service):
    """A body that nobody sends is told what the path's own protocol needs."""
    assert service.post("/v1/score", {"model": "chat"}).json()["error"]["field"] == "inputs"
    assert service.post("/get_reward", {}).json()["error"]["field"] == "query"


@pytest.mark.parametrize(
    ("model", "header"),
    [("chat", "as-it-stands"), ("pairs", "chatml"), ("default", "as-it-stands, chatml")],
)
def test_what_was_made_of_templated_text_is_told(model, header, service):
    """A scorer with a chat template reads it as it stands; others get its turns; an ensemble may hold both."""
    answer = service.post(f"/get_reward?model={model}", {"query": [CHATML]})
    assert answer.headers["x-guerdon-template"] == header
    if model == "pairs":
        assert answer.json()["rewards"] == [native(service, "pairs")]


def test_text_can_be_split_for_the_models_own_template(service):
    """A policy's ChatML, rewarded by a model that was trained on Llama-3's template."""
    answer = service.post("/get_reward?model=chat&templated_text=split", {"query": [CHATML]})
    assert answer.json()["rewards"] == [native(service, "chat")]
    assert service.post("/get_reward?model=chat", {"query": [CHATML]}).json()["rewards"] != [native(service, "chat")]


def test_text_in_no_template_is_never_split_silently(service):
    """For a model with a template that is an error; for another the text is a response, and the header says so."""
    refused = service.post("/get_reward?model=chat&templated_text=split", {"query": [CHATML, "Blue."]})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "query[1]")
    answer = service.post("/get_reward?model=pairs", {"query": ["Blue."]})
    assert answer.headers["x-guerdon-template"] == "unknown"
    assert answer.json()["rewards"] == [native(service, "pairs", "", "Blue.")]
    typo = service.post("/get_reward?templated_text=spilt", {"query": ["Blue."]})
    assert (typo.status_code, typo.json()["error"]["field"]) == (422, "templated_text")


def test_text_in_a_template_that_nobody_knows_is_read_as_it_stands(service):
    """By a model with a template, at every route that carries text; slime's prompt and response are such a text."""
    prompt = f"<|user|>\n{PROMPT}</s>\n<|assistant|>\n"
    whole = service.post("/get_reward?model=chat", {"query": [prompt + RESPONSE]})
    apart = service.post("/v1/slime/chat", {"prompt": prompt, "response": RESPONSE})
    assert [apart.json()] == close(whole.json()["rewards"])
    assert whole.headers["x-guerdon-template"] == apart.headers["x-guerdon-template"] == "as-it-stands"
    parted = service.post("/v1/slime/chat?templated_text=split", {"prompt": PROMPT, "response": RESPONSE})
    assert parted.headers["x-guerdon-template"] == "prompts"
    assert parted.json() == close(native(service, "chat"))


def test_the_prompts_that_openrlhf_sends_part_plain_text(service):
    """A policy without a template: the text begins with its prompt."""
    body = {"query": [PROMPT + RESPONSE + "</s>"], "prompts": [PROMPT], "labels": None}
    answer = service.post("/get_reward?model=pairs", body)
    assert answer.json()["rewards"] == [native(service, "pairs")]
    assert answer.headers["x-guerdon-template"] == "prompts"


def test_token_ids_are_for_models_that_read_conversations(service, checkpoint):
    """The ids of the model's own template give the native reward; strange ids, and other models, are refused."""
    ids = tokenizer_of("llama").apply_chat_template(TURNS, return_dict=False)
    answer = service.post("/classify?model=chat", {"input_ids": ids})
    assert answer.json()["embedding"] == [native(service, "chat")]
    for body, path in (
        ({"input_ids": [*ids, 999_999]}, "/classify?model=chat"),
        ({"input_ids": [-1]}, "/classify?model=chat"),
        ({"input_ids": ids}, "/classify?model=pairs"),
        ({"input_ids": ids}, "/classify?model=chat&templated_text=split"),
    ):
        refused = service.post(path, body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "input_ids")


def test_activation_is_the_protocols(service):
    """vLLM's default is a sigmoid of one output and a softmax of several; raw where the client asks."""
    raw = native(service, "chat")
    one = service.post("/classify?model=chat", {"messages": TURNS}).json()["data"][0]
    assert one["probs"] == [pytest.approx(1 / (1 + math.exp(-raw)))]
    several = service.post("/classify?model=three", {"messages": TURNS}).json()["data"][0]
    scores = [native(service, f"three.LABEL_{label}") for label in range(3)]
    powers = [math.exp(score) for score in scores]
    assert several["probs"] == pytest.approx([power / sum(powers) for power in powers])
    assert (several["num_classes"], several["label"]) == (3, f"LABEL_{scores.index(max(scores))}")
    assert (
        service.post("/classify?model=three", {"messages": TURNS, "use_activation": False}).json()["data"][0]["probs"]
        == scores
    )


def test_every_output_of_a_model_is_in_a_nim_answer(service):
    """As text and as log-probabilities; a model with one output calls it `reward`."""
    answer = service.post("/v1/chat/completions", {"model": "three", "messages": TURNS}).json()["choices"][0]
    scores = {f"LABEL_{label}": native(service, f"three.LABEL_{label}") for label in range(3)}
    assert {one["token"]: one["logprob"] for one in answer["logprobs"]["content"]} == scores
    assert answer["message"]["content"] == ",".join(f"{name}:{score}" for name, score in scores.items())
    by_alias = service.post("/v1/chat/completions", {"model": "acme/aspects", "messages": TURNS}).json()
    assert by_alias["choices"][0]["message"] == answer["message"]
    refused = service.post("/get_reward?model=three", {"query": [CHATML]})
    assert (refused.status_code, "three has several outputs" in refused.text) == (404, True)
    one = service.post("/v1/chat/completions", {"model": "chat", "messages": TURNS}).json()["choices"][0]
    assert one["message"]["content"] == f"reward:{native(service, 'chat')}"


def test_a_conversation_without_a_response_is_refused(service):
    """What a judge would be asked is no reward; a stream is none either."""
    for body in ({"messages": TURNS[:1]}, {"messages": []}, {"messages": TURNS, "stream": True}):
        assert service.post("/v1/chat/completions", body).status_code == 422


def test_an_empty_batch_is_an_empty_answer_where_trainers_send_it(service):
    """Early OpenRLHF sent surplus servers an empty list."""
    empty = service.post("/get_reward?model=chat", {"query": []}).json()
    assert (empty["rewards"], empty["extra_logs"]) == ([], {})
    assert service.post("/get_reward", {"prompts": [], "responses": []}).json() == {"rewards": []}


def test_extra_logs_are_flat_numbers_with_the_same_keys(service):
    """Members and their standard deviation, for an ensemble; nothing for a single scorer."""
    logs = service.post("/get_reward", {"query": [CHATML, "Blue."]}).json()["extra_logs"]
    assert set(logs) == {"std", "chat", "pairs"}
    assert all(len(values) == 2 and all(isinstance(value, float) for value in values) for values in logs.values())


def test_more_than_a_request_may_hold_is_refused(service):
    """The limit of /v1/score holds at every other path."""
    refused = service.post("/get_reward", {"query": ["a"] * 21})
    assert (refused.status_code, "limits.max_total_responses" in refused.text) == (413, True)
    refused = service.post("/rerank", {"query": "a", "texts": ["b"] * 16})
    assert (refused.status_code, "limits.max_responses" in refused.text) == (413, True)
    one = {"principle": "", "prompt": "a", "responses": {str(name): "b" for name in range(11)}}
    refused = service.post("/api/rewardanything_batch", [one, one])
    assert (refused.status_code, "limits.max_total_responses" in refused.text) == (413, True)
    refused = service.post("/api/rewardanything_batch", [{**one, "responses": {"a": "b"}}, {**one, "responses": {}}])
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "[1].responses")


def test_a_rollout_with_tools_is_verified_by_what_was_said(service):
    """Calls, their results and reasoning are passed over, in the conversation as in the response; a refusal is said."""
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "1"}
    result = {"type": "function_call_output", "call_id": "1", "output": "2"}
    thought = {"type": "reasoning", "summary": []}
    said = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": RESPONSE}]}
    body = {
        "responses_create_params": {"input": [TURNS[0], thought, call, result]},
        "response": {"id": "r", "output": [thought, said]},
    }
    assert service.post("/verify", body).json() == {**body, "reward": native(service, "default")}


def test_the_native_ranking_takes_what_rerank_clients_add(service):
    """vLLM's `top_n: 0` and switches, Cohere's documents with more than a text; the rewards stay raw unless asked."""
    documents = [{"text": RESPONSE, "id": "1"}, {"text": "No.", "title": "t"}]
    more = {"top_n": 0, "truncate_prompt_tokens": -1, "rank_fields": ["text"]}
    body = {"model": "pairs", "query": PROMPT, "documents": documents, **more}
    raw = service.post("/v1/rerank", body).json()["results"]
    assert {one["index"]: one["relevance_score"] for one in raw}[0] == close(native(service, "pairs"))
    assert len(raw) == 2
    for switch in ({"use_activation": True}, {"raw_scores": False}, {"activation": "sigmoid"}):
        results = service.post("/v1/rerank", {**body, **switch}).json()["results"]
        assert [one["relevance_score"] for one in results] == close(
            [1 / (1 + math.exp(-one["relevance_score"])) for one in raw]
        )


def test_a_principle_needs_a_model_that_uses_it_or_a_setting(service, checkpoint, tmp_path):
    """Never passed over in silence; as a system turn where the configuration says so."""
    body = {"principle": "Be brief.", "prompt": PROMPT, "responses": {"a": RESPONSE, "b": "No."}}
    refused = service.post("/api/rewardanything", {**body, "model": "chat"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "principle")
    one = {"kind": "reward_model", "placement": "inline", "model": str(checkpoint("llama"))}
    with serving({"scorers": {"default": one}, "compatible": {"principle": "system"}}, tmp_path) as other:
        results = other.post("/api/rewardanything", body).json()["results"]
        messages = [{"role": "system", "content": "Be brief."}, TURNS[0]]
        inputs = [{"messages": messages, "responses": [RESPONSE, "No."]}]
        rewards = other.post("/v1/score", {"inputs": inputs}).json()["data"][0]["rewards"]
        blank = other.post("/api/rewardanything", {**body, "principle": ""}).json()["results"]["scores"]
        assert blank["a"] == close(native(other, "default"))
    assert results["scores"] == dict(zip("ab", rewards, strict=True))
    assert results["best-to-worst"] == sorted("ab", key=lambda name: -results["scores"][name])


@pytest.mark.parametrize(
    ("aliases", "told"),
    [({"x": "chta"}, "there is no model chta; did you mean chat?"), ({"chat": "chat"}, "has this name already")],
)
def test_an_alias_must_mean_something(aliases, told, guerdon, checkpoint, tmp_path):
    """A typo, or the name of a model, is told before anything starts."""
    file = tmp_path / "guerdon.yaml"
    chat = {"kind": "reward_model", "model": str(checkpoint("llama"))}
    file.write_text(yaml.safe_dump({"scorers": {"chat": chat}, "aliases": aliases}))
    status, _, said = guerdon("check", "--config", str(file))
    assert (status, told in said) == (1, True), said


def test_aliases_are_told_by_the_check(guerdon, checkpoint, tmp_path):
    """What each means, as it will be served."""
    file = tmp_path / "guerdon.yaml"
    chat = {"kind": "reward_model", "model": str(checkpoint("llama"))}
    file.write_text(yaml.safe_dump({"scorers": {"chat": chat}, "aliases": {"acme/reward-7b": "chat"}}))
    status, said, _ = guerdon("check", "--config", str(file))
    assert (status, re.findall(r"acme/reward-7b +chat", said)) == (0, ["acme/reward-7b  chat"])
