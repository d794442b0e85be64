"""A small synchronous client."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from guerdon_client.errors import GuerdonError, error_of

Json = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]
RETRIED_STATUSES = frozenset({408, 429, 502, 503})


class Client:
    """One service. Refusals that pass (503 and the like) are tried again until ``timeout_s`` is used up.

    ``api_key`` is for a service that lets in only those who show one.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def score(self, prompt: str | Messages, responses: Sequence[Any], *, model: str = "default") -> list[float]:
        """The reward of each response to one prompt. Raises GuerdonError."""
        key = "prompt" if isinstance(prompt, str) else "messages"
        answer = self.score_inputs([{key: prompt, "responses": list(responses)}], model=model)
        rewards: list[float] = answer["data"][0]["rewards"]
        return rewards

    def score_inputs(self, inputs: Sequence[Json], *, model: str = "default", **options: Any) -> Json:
        """The whole answer of ``/v1/score``; an input that failed has an ``error`` in place of ``rewards``."""
        return self._post("/v1/score", {"model": model, "inputs": list(inputs), **options})

    def rerank(
        self, prompt: str | Messages, responses: Sequence[Any], *, model: str = "default", **options: Any
    ) -> list[Json]:
        """``{"index", "relevance_score", ...}`` of each response, best first. Raises GuerdonError."""
        key = "query" if isinstance(prompt, str) else "messages"
        body = {"model": model, key: prompt, "responses": list(responses), **options}
        results: list[Json] = self._post("/v1/rerank", body)["results"]
        return results

    def compare(
        self, prompt: str | Messages, responses: Sequence[Any], *, model: str = "default",
        pairs: Sequence[Sequence[int]] | None = None, **options: Any,
    ) -> Json:  # fmt: skip
        """``{"pairs", "probability", "win_rate", ...}``, by default of each with each. Raises GuerdonError."""
        key = "prompt" if isinstance(prompt, str) else "messages"
        chosen = {} if pairs is None else {"pairs": [list(pair) for pair in pairs]}
        inputs = [{key: prompt, "responses": list(responses), **chosen}]
        compared: Json = self._post("/v1/compare", {"model": model, "inputs": inputs, **options})["data"][0]
        return compared

    def models(self) -> list[Json]:
        """Everything the service can be asked by name."""
        listed: list[Json] = self._answered(self._sent("GET", "/v1/models"))["data"]
        return listed

    def _post(self, path: str, body: Json) -> Json:
        deadline = time.monotonic() + self._timeout_s
        for attempt in range(1_000_000):
            answer = self._sent("POST", path, json=body)
            if answer.status_code not in RETRIED_STATUSES:
                return self._answered(answer)
            wait_s = _wait_s(answer, attempt)
            if time.monotonic() + wait_s > deadline:
                return self._answered(answer)
            time.sleep(wait_s)
        raise AssertionError

    def _sent(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise GuerdonError("unreachable", f"{self._http.base_url}: {error}") from error

    @staticmethod
    def _answered(answer: httpx.Response) -> Json:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code != 200 or not isinstance(body, dict):
            raise error_of(answer.status_code, body)
        return body


def _wait_s(answer: httpx.Response, attempt: int) -> float:
    """What the service asked for, else full jitter under a bound that doubles."""
    asked = answer.headers.get("retry-after", "")
    if asked.isdigit():
        return float(asked)
    return random.uniform(0, min(10.0, 0.1 * 2 ** min(attempt, 10)))
