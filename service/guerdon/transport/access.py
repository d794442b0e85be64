"""Lets in those who show a key, where keys are configured."""

import hashlib
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from guerdon.domain.caller import DEFAULT_TENANT
from guerdon.domain.errors import Unauthorized
from guerdon.transport.errors import error_response

OPEN = frozenset({"/livez", "/readyz", "/metrics", "/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that probes and scrapers read without a key; there is no other."""


class Access:
    """Tells each request's tenant, or refuses it. ``tenants`` are by the SHA-256 of keys; without any, all may."""

    def __init__(self, app: ASGIApp, *, tenants: Mapping[bytes, str]) -> None:
        self._app, self._tenants = app, tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http":
            shown = dict(scope["headers"]).get(b"authorization", b"")
            tenant = tenant_of(shown, self._tenants) if self._tenants else DEFAULT_TENANT
            if tenant is None and scope["path"] not in OPEN:
                refused = Unauthorized("a valid key is needed: Authorization: Bearer KEY", field="Authorization")
                await error_response(refused)(scope, receive, send)
                return
            scope.setdefault("state", {})["tenant"] = tenant
        await self._app(scope, receive, send)


def tenant_of(authorization: bytes, tenants: Mapping[bytes, str]) -> str | None:
    """Whose key is shown. By its digest: how long the search takes tells nothing of the key."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return tenants.get(hashlib.sha256(key.strip()).digest())
