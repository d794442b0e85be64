"""A route for endpoints that do everything themselves."""

from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """FastAPI documents the route, and its endpoint is given the request as it came.

    What FastAPI does around an endpoint (dependencies, exit stacks, reading the body, checking the answer) takes
    longer than to answer from the cache. Errors are left to the application's handlers.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
