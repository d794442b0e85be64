"""Cohere's SDK: both versions of its rerank call."""

import cohere
from command_line import asked, tell

url, case = asked()
body = {"model": case["model"], "query": case["prompt"], "documents": case["responses"]}
client = cohere.ClientV2(api_key="any", base_url=url)
second = client.rerank(**body, top_n=2, max_tokens_per_doc=4096)
first = cohere.Client(api_key="any", base_url=url).rerank(**body, return_documents=True)
try:
    refusal = client.rerank(**{**body, "model": "no-such-model"})
except cohere.NotFoundError as error:
    refusal = error.body["message"]
tell(
    {
        "refusal": refusal,
        "v2": [[result.index, result.relevance_score] for result in second.results],
        "v2_version": second.meta.api_version.version,
        "v1": [[result.index, result.relevance_score] for result in first.results],
        "v1_documents": [result.document.text for result in first.results],
    }
)
