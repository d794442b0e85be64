"""Cohere's SDK: both versions of its rerank call."""

import cohere
from command_line import asked, tell

url, case = asked()
body = {"model": case["model"], "query": case["prompt"], "documents": case["responses"]}
second = cohere.ClientV2(api_key="any", base_url=url).rerank(**body, top_n=2, max_tokens_per_doc=4096)
first = cohere.Client(api_key="any", base_url=url).rerank(**body, return_documents=True)
tell(
    {
        "v2": [[result.index, result.relevance_score] for result in second.results],
        "v2_version": second.meta.api_version.version,
        "v1": [[result.index, result.relevance_score] for result in first.results],
        "v1_documents": [result.document.text for result in first.results],
    }
)
