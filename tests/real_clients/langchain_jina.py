"""LangChain's Jina reranker, its fixed address set to the service's."""

from command_line import asked, tell
from langchain_community.document_compressors import jina_rerank
from langchain_core.documents import Document

url, case = asked()
jina_rerank.JINA_API_URL = f"{url}/v1/rerank"
reranker = jina_rerank.JinaRerank(model=case["model"], jina_api_key="any", top_n=len(case["responses"]))
results = reranker.rerank(case["responses"], case["prompt"])
documents = [Document(page_content=text) for text in case["responses"]]
compressed = reranker.compress_documents(documents, case["prompt"])
try:
    jina_rerank.JinaRerank(model="no-such-model", jina_api_key="any").rerank(["a"], "b")
    refusal = None
except RuntimeError as error:
    refusal = str(error)
tell(
    {
        "results": [[result["index"], result["relevance_score"]] for result in results],
        "compressed": [[document.page_content, document.metadata["relevance_score"]] for document in compressed],
        "refusal": refusal,
    }
)
