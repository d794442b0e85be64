"""LiteLLM: its rerank adapters, each for the protocol of another server, and a chat completion for a reward."""

import litellm
from command_line import asked, tell

BASES = {
    "cohere": "",
    "cohere v1": "/v1/rerank",
    "jina_ai": "",
    "hosted_vllm": "",
    "infinity": "/infinity",
    "huggingface": "",
}

url, case = asked()
reranked = {}
for adapter, base in BASES.items():
    answer = litellm.rerank(
        model=f"{adapter.split()[0]}/{case['model']}",
        query=case["prompt"],
        documents=case["responses"],
        return_documents=True,
        api_base=url + base,
        api_key="any",
    )
    reranked[adapter] = [
        [result["index"], result["relevance_score"], result["document"]["text"]] for result in answer.results
    ]
chat = litellm.completion(
    model=f"openai/{case['model']}", messages=case["messages"], api_base=f"{url}/v1", api_key="any"
).choices[0]
logprobs = {entry.token: entry.logprob for entry in chat.logprobs.content}
tell({"reranked": reranked, "content": chat.message.content, "logprobs": logprobs})
