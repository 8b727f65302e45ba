"""One POST to a receiver, whatever the receiver does, in bounded time and memory.

Owns the HTTP client, which headers are sent, and the names of the outcomes. Must not touch the database, nor
decide about retries.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

from app.notifications.delivery.endpoint_health import parse_retry_after
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome, LeasedDelivery
from app.notifications.http.guarded_resolver import AddressRefusedError, GuardedResolver
from app.notifications.http.service_channels import (
    HTTP_CHANNELS,
    ChannelRequest,
    build_channel_request,
    classify_service_response,
    open_credentials,
)
from app.notifications.http.signing import sign_message
from app.notifications.http.ssrf_guard import check_url
from app.notifications.http.webhook_secrets import open_headers, open_signing_secrets
from app.platform.config.settings import WebhookSettings
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SealingError, SecretSealer

_TYPES: Final[Mapping[str, str]] = {"cloudevents": "application/cloudevents+json; charset=utf-8"}
_TYPE: Final = "application/json"
# What belongs to the connection, or says how the body is read: never an endpoint's own to set.
_NEVER_OWN: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_USER_AGENT: Final = f"Vigie/{version('vigie')}"
_COMMON: Final = {
    "user-agent": _USER_AGENT,
    "accept": "*/*",
    "accept-encoding": "identity",
}
# Once the status is known the outcome is; the rest is for the log, and not worth a place for long.
_BODY_PATIENCE_S: Final = 2.0
# Shorter than what servers keep idle connections open for: one that they are closing is not picked up.
_IDLE_S: Final = 2.0
_MOST_INTERIM: Final = 10
_LARGE_BYTES: Final = 500_000
_log = get_logger(__name__)
_EXACT: Final = 3600.0  # aiohttp rounds longer times up to whole seconds


class _Response(aiohttp.ClientResponse):
    """A response that is not waited for behind interim ones (1xx) without end: each costs as much as it.

    Raises:
        aiohttp.ClientPayloadError: There were too many of them.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read up to the status."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ClientConnectionError("the connection was closed")
        read = protocol.read
        left = _MOST_INTERIM

        async def counted() -> tuple[RawResponseMessage, aiohttp.StreamReader]:
            nonlocal left
            left -= 1
            if left < 0:
                raise aiohttp.ClientPayloadError("more interim responses than anybody needs")
            return await read()

        protocol.read = counted  # type: ignore[method-assign] # for the length of this call
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign] # as it was


class _Answer(NamedTuple):
    """What came back: as in `AttemptOutcome`, and the value of Retry-After."""

    reason: str
    status: int | None = None
    body: str | None = None
    retry_after: str | None = None


class HttpTransport:
    """Sends signed webhooks, and the messages of channels that go by HTTP.

    Open with `async with`: it keeps connections.

    Args:
        settings: Time limits, how much of an answer is kept, whether private addresses are allowed.
        sealer: Opens secrets.
        resolver: Resolves names; the guarded one.
        trusted: Whose certificates are valid; those that this machine trusts, if none is given.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        sealer: SecretSealer,
        resolver: GuardedResolver | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._sealer = sealer
        self._resolver = resolver or GuardedResolver(allow_private=settings.allow_private)
        self._trusted = trusted
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Who may be connected to at once is the dispatcher's matter.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=self._resolver, keepalive_timeout=_IDLE_S, ssl=self._trusted or True
            ),
            response_class=_Response,
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

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Send one message and say what came of it. Raises nothing.

        The URL is checked again: what was allowed when it was registered may not be now.
        """
        begun = time.perf_counter()
        try:
            url, headers, body = self._request(claimed, now)
        except (SealingError, KeyError) as error:
            _log.warning("secret_not_opened", endpoint_id=str(claimed.endpoint_id), error=str(error))
            return AttemptOutcome("not_configured", None, None, 0.0)
        answer = await self._exchange(url, {**headers, **_COMMON}, body)
        if claimed.kind in HTTP_CHANNELS:
            judged = classify_service_response(claimed.kind, answer.reason, answer.status, answer.body)
            answer = answer._replace(reason=judged)
        duration_ms = (time.perf_counter() - begun) * 1000
        # With what was delivered it says nothing of ours.
        asked = None if answer.reason == DELIVERED else answer.retry_after
        wait = None if asked is None else parse_retry_after(asked, now)
        return AttemptOutcome(answer.reason, answer.status, answer.body, duration_ms, wait)

    def _request(self, claimed: LeasedDelivery, now: datetime) -> ChannelRequest:
        """Make what is posted (SealError, or KeyError for what a channel lacks)."""
        if claimed.kind in HTTP_CHANNELS:
            credentials = open_credentials(self._sealer, claimed.endpoint_id, claimed.credentials)
            made = build_channel_request(claimed.kind, claimed.target or {}, credentials, claimed.body)
            return made._replace(headers={**made.headers, "content-type": _TYPE})
        if claimed.url is None or claimed.secret is None:
            raise ValueError("not a webhook")
        timestamp = int(now.timestamp())
        secrets = open_signing_secrets(
            self._sealer, claimed.endpoint_id, claimed.secret, claimed.former_secrets, now
        )
        own = open_headers(self._sealer, claimed.endpoint_id, claimed.headers)
        signatures = (sign_message(secret, claimed.message_id, timestamp, claimed.body) for secret in secrets)
        headers = {
            **{name.lower(): value for name, value in own.items() if name.lower() not in _NEVER_OWN},
            "content-type": _TYPES.get(claimed.format, _TYPE),
            "webhook-id": claimed.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        return ChannelRequest(claimed.url, headers, claimed.body)

    async def _exchange(self, url: str, headers: dict[str, str], body: bytes) -> _Answer:
        if self._session is None:
            raise RuntimeError("open the sender first")
        limit = time.monotonic() + self._settings.total_timeout_s
        try:
            checked = check_url(url, allow_private=self._settings.allow_private)
            async with asyncio.timeout(self._settings.total_timeout_s):
                # A large body is written piece by piece: others have their turn in between.
                data = body if len(body) <= _LARGE_BYTES else BytesIO(body)
                response = await self._session.post(
                    checked, data=data, headers=headers, allow_redirects=False
                )
        except InvalidError:
            return _Answer("address_refused")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Answer(_reason_of(error))
        try:
            patience = min(_BODY_PATIENCE_S, limit - time.monotonic())
            kept = await _beginning(response, self._settings.response_limit_bytes, patience)
        finally:
            # Kept for the next attempt if the answer was read to its end; closed if it was cut.
            response.close()
        status = response.status
        return _Answer(_meaning(status), status, kept, response.headers.get("retry-after"))


_NAMED: Final[Mapping[int, str]] = {410: "gone", 429: "rate_limited"}


def _meaning(status: int) -> str:
    if 200 <= status < 300:  # noqa: PLR2004 (the classes of HTTP statuses)
        return DELIVERED
    if status in _NAMED:
        return _NAMED[status]
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
