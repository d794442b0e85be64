"""A reranker for LangChain's retrievers."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import SecretStr

from guerdon_client.client import Client
from guerdon_client.environment import Place
from guerdon_client.requests import present
from guerdon_client.results import RerankResult
from guerdon_client.shared import waiting


class GuerdonRerank(BaseDocumentCompressor):  # type: ignore[misc]  # mypy does not look into LangChain
    """Documents by their reward as responses to the query, best first; ``top_n`` of them, or all.

    Each comes as a copy, with ``relevance_score`` (the raw reward) in its metadata, and an ensemble's ``std``.
    """

    url: str
    model: str = "default"
    top_n: int | None = None
    api_key: SecretStr | None = None
    timeout_s: float = 60.0
    aggregation: Mapping[str, Any] | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents. Raises GuerdonError."""
        if not documents:
            return []
        return _ranked(documents, self._client().rerank(query, _texts(documents), **self._options()))

    def _client(self) -> Client:
        key = None if self.api_key is None else self.api_key.get_secret_value()
        return waiting(Place(self.url, self.model, key, self.timeout_s))

    def _options(self) -> dict[str, Any]:
        return {"model": self.model} | present({"top_n": self.top_n, "aggregation": self.aggregation})


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _ranked(documents: Sequence[Document], ranking: RerankResult) -> list[Document]:
    copies = []
    for ranked in ranking:
        told = {"relevance_score": ranked.relevance_score} | present({"std": ranked.std})
        document = documents[ranked.index]
        copies.append(document.model_copy(update={"metadata": {**document.metadata, **told}}))
    return copies
