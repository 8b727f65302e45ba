"""Prevents loops: refuses API requests that Vigie itself sent, and webhook URLs of its own API.

A webhook to the API, with an API key among its custom headers, could replay its own delivery for ever.
"""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope
from yarl import URL

from app.notifications.http.ssrf_guard import CODE
from app.platform.kernel.errors import ForbiddenError, InvalidError
from app.platform.kernel.ip_addresses import is_loopback

AGENT: Final = "Vigie/"
"""The prefix of the `User-Agent` of all requests that Vigie sends."""

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Other senders use Standard Webhooks too; their ids have other formats, unless they are another Vigie.
_OUR_ID: Final = re.compile("msg_[0-9a-f]{32}")


def reject_own_webhook(scope: Scope) -> None:
    """Refuse an unsafe request that Vigie itself sent.

    Args:
        scope: the ASGI scope of the request.

    Raises:
        ForbiddenError: `own_webhook`.
    """
    if scope["method"] in _READS or not _is_ours(Headers(scope=scope)):
        return
    raise ForbiddenError(
        "This request is a webhook of Vigie. The API refuses it, because it could call itself without end. "
        "Put a program of yours between the two.",
        code="own_webhook",
    )


def _is_ours(headers: Headers) -> bool:
    if headers.get("user-agent", "").startswith(AGENT):
        return True
    return _OUR_ID.fullmatch(headers.get("webhook-id", "")) is not None


def reject_own_url(url: URL, public_url: str) -> None:
    """Refuse a URL with the host of the API's public URL, on any port.

    On a loopback address, where other programs listen too, only the API's own port is refused.

    Args:
        url: A webhook's URL.
        public_url: The API's public URL; empty if it is not configured.

    Raises:
        InvalidError: `webhook_url_not_allowed`.
    """
    own = URL(public_url) if public_url else None
    if own is None or own.host is None or url.host is None:
        return
    here, there = _plain(own.host), _plain(url.host)
    if is_loopback(here) and is_loopback(there):
        # All names of the loopback interface are the same host.
        if url.port != own.port:
            return
    elif here != there:
        return
    raise InvalidError(
        f"This URL cannot receive webhooks: {own.host} is the host of Vigie itself (its public URL). Use "
        "another host.",
        code=CODE,
    )


def _plain(host: str) -> str:
    return host.rstrip(".").lower()
