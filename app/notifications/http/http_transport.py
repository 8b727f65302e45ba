"""Sends deliveries by HTTP POST, in bounded time and memory, and classifies the responses."""

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
from app.notifications.http.answer_headers import shorten_headers
from app.notifications.http.guarded_resolver import AddressRefusedError, GuardedResolver
from app.notifications.http.service_channel_requests import (
    HTTP_CHANNELS,
    ChannelRequest,
    build_channel_request,
    classify_service_response,
    open_credentials,
)
from app.notifications.http.ssrf_guard import check_url
from app.notifications.http.webhook_secrets import open_headers, open_signing_secrets
from app.notifications.http.webhook_signatures import sign_message
from app.notifications.settings import WebhookSettings
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.observability.tracing import TRACEPARENT, current_traceparent
from app.platform.secrets.sealing import SealingError, SecretSealer

_TYPES: Final[Mapping[str, str]] = {"cloudevents": "application/cloudevents+json; charset=utf-8"}
_TYPE: Final = "application/json"
# Headers of the connection or of the body's encoding, which a custom header must not replace.
_NOT_CUSTOM: Final = frozenset(
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
# The status decides the outcome; the body is only for the log, and not worth a slot for long.
_BODY_TIMEOUT_S: Final = 2.0
# Shorter than the idle timeout of servers, so that no connection is reused while they close it.
_IDLE_S: Final = 2.0
_MOST_INTERIM: Final = 10
_LARGE_BYTES: Final = 500_000
_log = get_logger(__name__)
_EXACT: Final = 3600.0  # aiohttp rounds longer times up to whole seconds


class _Response(aiohttp.ClientResponse):
    """A response with a limit of interim responses (1xx), which a receiver could send without end.

    Raises:
        aiohttp.ClientPayloadError: There were too many interim responses.
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
                raise aiohttp.ClientPayloadError("too many interim responses")
            return await read()

        protocol.read = counted  # type: ignore[method-assign] # for the length of this call
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign] # as it was


class _Answer(NamedTuple):
    """The response: as in `AttemptOutcome`, with the value of Retry-After and its headers."""

    reason: str
    status: int | None = None
    body: str | None = None
    retry_after: str | None = None
    headers: Mapping[str, str] | None = None


class HttpTransport:
    """Sends signed webhooks, and the messages of channels to HTTP services.

    Open with `async with`: it reuses connections.

    Args:
        settings: Timeouts, the stored length of a response, whether private addresses are allowed.
        sealer: Decrypts secrets.
        resolver: Resolves names; by default with the SSRF guard.
        trusted: The TLS context with the trusted certificates; by default those of this machine.
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
            # The dispatcher limits concurrency.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=self._resolver, keepalive_timeout=_IDLE_S, ssl=self._trusted or True
            ),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_timeout_s, ceil_threshold=_EXACT
            ),
            # A small body can decompress to a large one.
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
        """Send one message and return the outcome. Raises nothing.

        The URL is checked again: the rules may have changed since it was registered.
        """
        begun = time.perf_counter()
        try:
            url, headers, body = self._request(claimed, now)
        except (SealingError, KeyError) as error:
            _log.warning("secret_not_opened", endpoint_id=str(claimed.endpoint_id), error=str(error))
            return AttemptOutcome("not_configured", None, None, 0.0)
        # Of this attempt where this process traces, else of the event.
        traceparent = current_traceparent() or claimed.traceparent
        traced = {} if traceparent is None else {TRACEPARENT: traceparent}
        answer = await self._exchange(url, {**headers, **_COMMON, **traced}, body)
        if claimed.kind in HTTP_CHANNELS:
            reason = classify_service_response(claimed.kind, answer.reason, answer.status, answer.body)
            answer = answer._replace(reason=reason)
        return _conclude(answer, begun, now)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> AttemptOutcome:
        """Post a body to a URL that the SSRF guard allows, and return the outcome. Raises nothing."""
        begun = time.perf_counter()
        return _conclude(await self._exchange(url, {**headers, **_COMMON}, body), begun, now)

    def _request(self, claimed: LeasedDelivery, now: datetime) -> ChannelRequest:
        """Build the request (SealingError, or KeyError for a missing value of a channel)."""
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
        custom = open_headers(self._sealer, claimed.endpoint_id, claimed.headers)
        signatures = (sign_message(secret, claimed.message_id, timestamp, claimed.body) for secret in secrets)
        headers = {
            **{name.lower(): value for name, value in custom.items() if name.lower() not in _NOT_CUSTOM},
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
                # A large body is written in pieces, so that other tasks can run in between.
                data = body if len(body) <= _LARGE_BYTES else BytesIO(body)
                response = await self._session.post(
                    checked, data=data, headers=headers, allow_redirects=False
                )
        except InvalidError:
            return _Answer("address_refused")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Answer(_reason_of(error))
        try:
            timeout_s = min(_BODY_TIMEOUT_S, limit - time.monotonic())
            text = await _read_beginning(response, self._settings.response_limit_bytes, timeout_s)
        finally:
            # Reuses the connection if the response was read to its end, and closes it otherwise.
            response.close()
        status = response.status
        headers = shorten_headers(response.headers.items())
        return _Answer(_classify_status(status), status, text, response.headers.get("retry-after"), headers)


def _conclude(answer: _Answer, begun: float, now: datetime) -> AttemptOutcome:
    """Return the outcome of an attempt that began at a time (`time.perf_counter`)."""
    duration_ms = (time.perf_counter() - begun) * 1000
    # A success has no retry, so its Retry-After is ignored.
    retry_after = None if answer.reason == DELIVERED else answer.retry_after
    wait = None if retry_after is None else parse_retry_after(retry_after, now)
    return AttemptOutcome(answer.reason, answer.status, answer.body, duration_ms, wait, answer.headers)


_NAMED: Final[Mapping[int, str]] = {410: "gone", 429: "rate_limited"}


def _classify_status(status: int) -> str:
    if 200 <= status < 300:  # noqa: PLR2004 (the classes of HTTP statuses)
        return DELIVERED
    if status in _NAMED:
        return _NAMED[status]
    return "redirect_refused" if 300 <= status < 400 else "http_error"  # noqa: PLR2004 (the same)


# Ordered: aiohttp's errors inherit from each other and from OSError.
_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "name_unresolved"),
    (aiohttp.ClientSSLError, "tls_failed"),
    (ssl.SSLError, "tls_failed"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "connect_failed"),
    (TimeoutError, "timeout"),
)


def _reason_of(error: Exception) -> str:
    """Return the reason of an error before the status arrived."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return "address_refused"
    if isinstance(cause, ssl.SSLError):
        return "tls_failed"
    return next((reason for kind, reason in _FAILURES if isinstance(error, kind)), "response_broken")


async def _read_beginning(response: aiohttp.ClientResponse, limit: int, timeout_s: float) -> str | None:
    """Read the beginning of a body: at most `limit` bytes, for at most `timeout_s` seconds."""
    beginning = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(max(timeout_s, 0)):
            # Read at least once, even with a limit of 0: the end of an empty response frees the connection.
            async for chunk in response.content.iter_any():
                beginning += chunk
                if len(beginning) > limit:
                    break
    text = bytes(beginning[:limit]).decode("utf-8", errors="replace")
    # PostgreSQL's text cannot contain NUL.
    return text.replace("\0", "\ufffd") or None
