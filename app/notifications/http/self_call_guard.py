"""The end of loops: what Vigie itself sent must change nothing here.

Owns how a request of ours is known, and which URLs lead back here. A webhook onto the API, with a key among
its own headers, could replay its own delivery, or send another test, and so for ever.
"""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from yarl import URL

from app.notifications.http.ssrf_guard import CODE
from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.client_addresses import is_loopback
from app.platform.kernel.errors import ForbiddenError, InvalidError

AGENT: Final = "Vigie/"
"""What the `User-Agent` of everything that Vigie sends begins with."""

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Others sign as Standard Webhooks says too; their ids look otherwise, unless they are another Vigie's.
_OUR_ID: Final = re.compile("msg_[0-9a-f]{32}")


class SelfCallMiddleware:
    """ASGI middleware that refuses what would change something and was sent by Vigie: 403 `own_webhook`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] in _READS or not _is_ours(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        # No handler of errors stands around a middleware.
        error = ForbiddenError(
            "This is a webhook of Vigie's: the API takes none, for it could call itself without end. Have a "
            "program of yours between the two.",
            code="own_webhook",
        )
        await make_error_response(error)(scope, receive, send)


def _is_ours(headers: Headers) -> bool:
    if headers.get("user-agent", "").startswith(AGENT):
        return True
    return _OUR_ID.fullmatch(headers.get("webhook-id", "")) is not None


def reject_own_url(url: URL, public_url: str) -> None:
    """Refuse a URL at the host where clients reach the API, whatever the port.

    On a loopback address, where other programs listen too, the port decides.

    Args:
        url: A webhook's.
        public_url: Where clients reach the API; empty where that is not known.

    Raises:
        InvalidError: `webhook_url_not_allowed`.
    """
    own = URL(public_url) if public_url else None
    if own is None or own.host is None or url.host is None:
        return
    here, there = _plain(own.host), _plain(url.host)
    if is_loopback(here) and is_loopback(there):
        # All names of the loopback interface are one host.
        if url.port != own.port:
            return
    elif here != there:
        return
    raise InvalidError(
        f"This URL cannot receive webhooks: {own.host} is where Vigie itself is reached (its public URL).",
        code=CODE,
    )


def _plain(host: str) -> str:
    return host.rstrip(".").lower()
