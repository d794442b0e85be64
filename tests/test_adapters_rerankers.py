"""The rerankers, inside the frameworks that they are for, against the running demonstration service."""

import pytest
from langchain_core.documents import Document
from llama_index.core import Settings
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from guerdon_client import Client, Refused, langchain, llama_index

EGG = "How do I boil an egg?"
TEXTS = ["Eggs are eggs.", "Put it in boiling water for eight minutes, then cool it under the tap.", "I cannot say."]


@pytest.fixture(scope="module")
def ranking(demonstration):
    """What the service says of the texts."""
    with Client(demonstration.url) as client:
        return client.rerank(EGG, TEXTS)


async def test_langchain(demonstration, ranking):
    """Copies of the documents, best first, the reward in their metadata; both ways to call it."""
    documents = [Document(page_content=text, metadata={"at": at}) for at, text in enumerate(TEXTS)]
    reranker = langchain.GuerdonRerank(url=demonstration.url)
    kept = reranker.compress_documents(documents, EGG)
    assert [document.metadata["at"] for document in kept] == [ranked.index for ranked in ranking]
    assert [document.metadata["relevance_score"] for document in kept] == [r.relevance_score for r in ranking]
    assert [document.metadata["std"] for document in kept] == [ranked.std for ranked in ranking]
    assert documents[0].metadata == {"at": 0}
    assert await reranker.acompress_documents(documents, EGG) == kept
    top = langchain.GuerdonRerank(url=demonstration.url, top_n=1, aggregation={"method": "wco"})
    assert [document.page_content for document in top.compress_documents(documents, EGG)] == [TEXTS[1]]
    assert top.compress_documents([], EGG) == []


async def test_llama_index(demonstration, ranking):
    """Nodes, best first, their scores the rewards; both ways to call it."""
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    reranker = llama_index.GuerdonRerank(url=demonstration.url)
    kept = reranker.postprocess_nodes(nodes, query_str=EGG)
    assert [(node.text, node.score) for node in kept] == [(TEXTS[r.index], r.relevance_score) for r in ranking]
    again = await reranker.apostprocess_nodes(nodes, query_bundle=QueryBundle(EGG))
    assert [(node.text, node.score) for node in again] == [(node.text, node.score) for node in kept]
    assert reranker.postprocess_nodes([], query_str=EGG) == []
    with pytest.raises(Refused, match="a query is needed"):
        reranker.postprocess_nodes(nodes)


def test_llama_index_in_a_query_engine(demonstration, monkeypatch):
    """What a retriever found reaches the answer in the order of its rewards."""

    monkeypatch.setattr(Settings, "_llm", MockLLM())  # which it looks for, and has no use for here

    class Found(BaseRetriever):
        def _retrieve(self, query_bundle):
            return [NodeWithScore(node=TextNode(text=text), score=1.0) for text in TEXTS]

    engine = RetrieverQueryEngine(
        retriever=Found(),
        response_synthesizer=get_response_synthesizer(llm=MockLLM(), response_mode=ResponseMode.NO_TEXT),
        node_postprocessors=[llama_index.GuerdonRerank(url=demonstration.url, top_n=2)],
    )
    sources = engine.query(EGG).source_nodes
    assert (len(sources), sources[0].text) == (2, TEXTS[1])
