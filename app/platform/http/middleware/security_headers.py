"""The outermost layer: each request gets its id, and each answer what every answer carries."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.request_head import read_request_head
from app.platform.http.contract.response_headers import append_headers, map_response_start
from app.platform.kernel.tenant_scope import NO_CALLER, run_as_caller
from app.platform.observability.request_ids import begin_request_id, current_request_id, end_request_id

_Headers = tuple[tuple[bytes, bytes], ...]
_ALWAYS: Final[_Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# A year, as the lists of browsers that preload it want at least.
_HTTPS: Final[_Headers] = ((b"strict-transport-security", b"max-age=31536000"),)
# Unless the answer says otherwise itself, as the pages of the documentation and of the register do.
_DEFAULTS: Final = {
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    # Nobody between the API and its client keeps what only the client's key may read.
    b"cache-control": b"no-store",
}


class SecurityHeadersMiddleware:
    """Adds `X-Request-Id` and the security headers to every answer."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._always = _ALWAYS + _HTTPS if https else _ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = begin_request_id(read_request_head(scope).request_id)
        identity = (b"x-request-id", (current_request_id() or "").encode())

        def guarded(message: Message) -> Message:
            names = {name.lower() for name, _ in message.get("headers", ())}
            missing = [each for each in _DEFAULTS.items() if each[0] not in names]
            return append_headers(message, [*missing, identity, *self._always])

        try:
            # A request can begin in the context of the one before it on its connection: not as its caller.
            with run_as_caller(NO_CALLER):
                await self._app(scope, receive, map_response_start(send, guarded))
        finally:
            end_request_id(token)
