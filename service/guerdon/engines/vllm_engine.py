"""A model on a vLLM server, or one that speaks as vLLM does."""

import asyncio
import hashlib
from collections.abc import Sequence

from guerdon.domain import caller
from guerdon.domain.chat import Chat, Generation
from guerdon.domain.errors import EngineFailed, ResponseTooLong, ServiceError
from guerdon.domain.ports import Record
from guerdon.domain.queries import Answer, Query, integers
from guerdon.engines import vllm_calls as calls
from guerdon.engines.vllm_http import VllmHttp
from guerdon.engines.vllm_server import ChildServer, ModelServer, RemoteServer
from guerdon.engines.vllm_settings import VllmSettings

SEQUENCES_PER_REQUEST = 32
"""Reading them back costs the server and us less than one request each; one that it refuses is asked about alone."""


class VllmEngine:
    """Text, log-probabilities and pooled outputs of one model."""

    def __init__(self, settings: VllmSettings, *, name: str, record: Record) -> None:
        self.name, self._settings = name, settings
        kind = ChildServer if settings.url is None else RemoteServer
        self.server: ModelServer = kind(settings, name=name, record=record)
        self._http = VllmHttp(
            self.server,
            concurrency=settings.concurrency,
            max_waiting=settings.max_waiting,
            api_key=settings.api_key,
            name=name,
            record=record,
        )

    async def start(self) -> None:
        """Begin to look after the server; returns before it can be asked."""
        await self.server.start()

    async def ready(self) -> None:
        """Wait until it can be asked. Raises NotServable."""
        await self.server.ready()

    @property
    def unready(self) -> str | None:
        """Why it cannot be asked now; None while it can."""
        return self.server.unready

    async def close(self) -> None:
        """Close the connections, and end a server that was started here."""
        await self._http.close()
        await self.server.close()

    async def generate(self, chat: Chat, deadline: float) -> Generation:
        """Go on with the conversation. Raises ServiceError."""
        body = calls.chat_body(
            chat, model=self._settings.served_as, dialect=self._settings.server, salt=_salt()
        )  # fmt: skip
        return calls.read_chat(await self._http.post("/v1/chat/completions", body, deadline))

    async def log_probabilities(self, token_ids: Sequence[int], deadline: float) -> list[float]:
        """Natural logarithms of how probable each token but the first is after those before it. Raises ServiceError."""
        body = calls.log_probabilities_body(token_ids, model=self._settings.served_as, salt=_salt())
        return calls.read_log_probabilities(await self._http.post("/v1/completions", body, deadline), token_ids)

    async def answer(self, queries: Sequence[Query], deadline: float) -> list[Answer]:
        """The head's raw logits of each sequence [labels]; or of each of its tokens [tokens * labels]."""
        parts = [queries[at : at + SEQUENCES_PER_REQUEST] for at in range(0, len(queries), SEQUENCES_PER_REQUEST)]
        answers = await asyncio.gather(*(self._pooled(part, deadline) for part in parts))
        return [answer for part in answers for answer in part]

    async def _pooled(self, queries: Sequence[Query], deadline: float) -> list[Answer]:
        """One answer each. Where the server refuses them together, each is asked about alone."""
        try:
            body = calls.pooling_body(
                [integers(query.token_ids).tolist() for query in queries],
                model=self._settings.served_as,
                per_token=self._settings.per_token,
                salt=_salt(),
            )
            answer = await self._http.post("/pooling", body, deadline, items=len(queries))
            return [pooled.reshape(-1) for pooled in calls.read_pooling(answer, len(queries))]
        except (EngineFailed, ResponseTooLong) as error:
            if len(queries) == 1:
                return [error]
            alone = await asyncio.gather(*(self._pooled([query], deadline) for query in queries))
            return [one for (one,) in alone]
        except ServiceError as error:
            return [error] * len(queries)


def _salt() -> str:
    """What a prefix is cached under besides its tokens: tenants do not learn from each other's timing."""
    return hashlib.sha256(caller.current().tenant.encode()).hexdigest()[:32]
