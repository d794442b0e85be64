"""A reranker for LlamaIndex's query engines."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import SecretStr

from guerdon_client.client import Client
from guerdon_client.environment import Place
from guerdon_client.errors import Refused
from guerdon_client.requests import present
from guerdon_client.results import RerankResult
from guerdon_client.shared import waiting


class GuerdonRerank(BaseNodePostprocessor):  # type: ignore[misc]  # mypy does not look into LlamaIndex
    """Nodes by their reward as responses to the query, best first; ``top_n`` of them, or all.

    Their scores become the raw rewards. What LlamaIndex would embed of a node is what is scored.
    """

    url: str
    model: str = "default"
    top_n: int | None = None
    api_key: SecretStr | None = None
    timeout_s: float = 60.0
    aggregation: Mapping[str, Any] | None = None

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it in stored settings."""
        return "GuerdonRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        return _ranked(nodes, self._client().rerank(_query(query_bundle), _texts(nodes), **self._options()))

    def _client(self) -> Client:
        key = None if self.api_key is None else self.api_key.get_secret_value()
        return waiting(Place(self.url, self.model, key, self.timeout_s))

    def _options(self) -> dict[str, Any]:
        return {"model": self.model} | present({"top_n": self.top_n, "aggregation": self.aggregation})


def _query(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise Refused("invalid", "a query is needed: query_str or query_bundle", field="query_bundle")
    query: str = bundle.query_str
    return query


def _texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]


def _ranked(nodes: Sequence[NodeWithScore], ranking: RerankResult) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[ranked.index].node, score=ranked.relevance_score) for ranked in ranking]
