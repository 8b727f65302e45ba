"""One POST to a receiver, whatever the receiver does, in bounded time and memory.

Owns the HTTP client and the names of the outcomes. Must not touch the database, nor decide about retries.
"""

import asyncio
import ssl
import time
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

import aiohttp

from app.core.errors import InvalidError
from app.core.observability import get_logger
from app.core.sealing import Sealer, SealError
from app.core.settings import WebhookSettings
from app.webhooks.guard import check_url
from app.webhooks.resolver import AddressRefusedError, GuardedResolver
from app.webhooks.secrets import open_headers, signing_secrets
from app.webhooks.signing import sign
from app.webhooks.transport import DELIVERED, Claim, Outcome

_USER_AGENT: Final = f"Vigie/{version('vigie')}"
# Once the status is known the outcome is; the rest is for the log, and not worth a place for long.
_BODY_PATIENCE_S: Final = 2.0
# Shorter than what servers keep idle connections open for: one that they are closing is not picked up.
_IDLE_S: Final = 2.0
_log = get_logger(__name__)
_EXACT: Final = 3600.0  # aiohttp rounds longer times up to whole seconds


class Sender:
    """Sends signed webhooks. Open with `async with`: it keeps connections.

    Args:
        settings: Time limits, how much of an answer is kept, whether private addresses are allowed.
        sealer: Opens secrets.
        resolver: Resolves names; the guarded one.
    """

    def __init__(
        self, settings: WebhookSettings, sealer: Sealer, resolver: GuardedResolver | None = None
    ) -> None:
        self._settings = settings
        self._sealer = sealer
        self._resolver = resolver or GuardedResolver(allow_private=settings.allow_private)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Who may be connected to at once is the dispatcher's matter.
            connector=aiohttp.TCPConnector(limit=0, resolver=self._resolver, keepalive_timeout=_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_timeout_s, ceil_threshold=_EXACT
            ),
            # A small body can unpack into a large one.
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, claimed: Claim, now: datetime) -> Outcome:
        """Send one message and say what came of it. Raises nothing.

        The URL is checked again: what was allowed when it was registered may not be now.
        """
        if claimed.url is None or claimed.secret is None:
            raise ValueError("not a webhook")
        timestamp = int(now.timestamp())
        begun = time.perf_counter()
        try:
            secrets = signing_secrets(
                self._sealer, claimed.endpoint_id, claimed.secret, claimed.former_secrets, now
            )
            own = open_headers(self._sealer, claimed.endpoint_id, claimed.headers)
        except SealError as error:
            _log.warning("secret_not_opened", endpoint_id=str(claimed.endpoint_id), error=str(error))
            return Outcome("not_configured", None, None, 0.0)
        signatures = (sign(secret, claimed.message_id, timestamp, claimed.body) for secret in secrets)
        headers = {
            **own,
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
            "webhook-id": claimed.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        reason, status, answer = await self._exchange(claimed.url, headers, claimed.body)
        return Outcome(reason, status, answer, (time.perf_counter() - begun) * 1000)

    async def _exchange(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[str, int | None, str | None]:
        if self._session is None:
            raise RuntimeError("open the sender first")
        limit = time.monotonic() + self._settings.total_timeout_s
        try:
            checked = check_url(url, allow_private=self._settings.allow_private)
            async with asyncio.timeout(self._settings.total_timeout_s):
                response = await self._session.post(
                    checked, data=body, headers=headers, allow_redirects=False
                )
        except InvalidError:
            return "address_refused", None, None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _reason_of(error), None, None
        try:
            patience = min(_BODY_PATIENCE_S, limit - time.monotonic())
            kept = await _beginning(response, self._settings.response_limit_bytes, patience)
        finally:
            # Kept for the next attempt if the answer was read to its end; closed if it was cut.
            response.close()
        return _meaning(response.status), response.status, kept


def _meaning(status: int) -> str:
    if 200 <= status < 300:  # noqa: PLR2004 (the classes of HTTP statuses)
        return DELIVERED
    return "redirect_refused" if 300 <= status < 400 else "http_error"  # noqa: PLR2004 (the same)


# In this order: aiohttp's errors are each other's relatives, and OSErrors too.
_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "name_unresolved"),
    (aiohttp.ClientSSLError, "tls_failed"),
    (ssl.SSLError, "tls_failed"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "connect_failed"),
    (TimeoutError, "timeout"),
)


def _reason_of(error: Exception) -> str:
    """Name a failure to get as far as a status."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return "address_refused"
    if isinstance(cause, ssl.SSLError):
        return "tls_failed"
    return next((reason for kind, reason in _FAILURES if isinstance(error, kind)), "response_broken")


async def _beginning(response: aiohttp.ClientResponse, limit: int, patience: float) -> str | None:
    """Read the beginning of a body: at most `limit` bytes, for at most `patience` seconds."""
    kept = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(max(patience, 0)):
            # At least once, even with a limit of 0: an empty answer's end frees the connection for reuse.
            async for chunk in response.content.iter_any():
                kept += chunk
                if len(kept) > limit:
                    break
    text = bytes(kept[:limit]).decode("utf-8", errors="replace")
    # PostgreSQL's text holds no NUL.
    return text.replace("\0", "\ufffd") or None
