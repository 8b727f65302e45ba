"""Receives webhooks as a client would: verifies, detects duplicates, answers, prints one line per message.

It follows the steps of docs/webhooks.md: read the raw body, verify it, look up its `webhook-id`, handle it,
answer. On request it misbehaves: another status, first failures, delay, no answer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from simulators.message_summary import get_message_type, parse_body, summarise_message
from simulators.rest_client import UnreachableError
from simulators.webhook_signatures import InvalidSignatureError, decode_secret, verify_signature

_UNAUTHORISED = 401
_FAILING = 500
_FAILING_FOR_NOW = 503
_ID_SHOWN = 64  # covers ids of Vigie; other senders' may have any length
_MAX_BODY = 1_048_576
_MAX_IDS = 100_000


@dataclass(frozen=True, slots=True)
class ReceiverBehaviour:
    """How the receiver answers.

    Attributes:
        status: The status for verified messages.
        fail_first: Number of verified requests that fail first: with 500, or 503 if `retry_after_s` is set.
        delay_s: Delay of each answer (seconds).
        retry_after_s: `Retry-After` of each failure (seconds).
        hang: Never answer.
    """

    status: int = 204
    fail_first: int = 0
    delay_s: float = 0.0
    retry_after_s: int | None = None
    hang: bool = False


@dataclass(slots=True)
class ReceiverCounts:
    """Counts of received requests.

    Attributes:
        requests: All requests.
        verified: Requests with a valid signature.
        refused: Requests without a valid signature.
        failed: Requests answered with 500 or 503 on purpose.
        duplicates: Verified requests whose `webhook-id` was handled before.
        by_type: Handled requests by type, without duplicates.
    """

    requests: int = 0
    verified: int = 0
    refused: int = 0
    failed: int = 0
    duplicates: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


class WebhookReceiver:
    """A receiver that listens while its async context is open.

    Without a secret it refuses all messages, unless `unsigned` is set; `use_secret` sets one later.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: str | Sequence[str] | None = None,
        unsigned: bool = False,
        behaviour: ReceiverBehaviour | None = None,
        print_line: Callable[[str], None] = print,
    ) -> None:
        """Prepare a receiver.

        Args:
            host: The address to listen on.
            port: The port; 0 for a free one.
            secret: The endpoint's secret, `whsec_…`; several during a rotation.
            unsigned: Accept messages without verification while no secret is set.
            behaviour: How to answer.
            print_line: Called with the line of each message.
        """
        self._host = host
        self._port = port
        given = [secret] if isinstance(secret, str) else list(secret or [])
        self._keys = [decode_secret(each) for each in given if each]
        self._unsigned = unsigned
        self._behaviour = behaviour or ReceiverBehaviour()
        self._print_line = print_line
        # A real program stores these ids in its database, in the transaction that handles the message.
        self._handled: dict[str, None] = {}
        self._attempts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self.counts = ReceiverCounts()

    def use_secret(self, secret: str) -> None:
        """Replace the secret."""
        self._keys = [decode_secret(secret)]

    @property
    def url(self) -> str:
        """The URL that receives webhooks."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/"

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._runner is None:
            raise RuntimeError("the receiver is not open")
        port: int = self._runner.addresses[0][1]
        return port

    async def __aenter__(self) -> Self:
        if self._runner is None:
            await self.open()
        return self

    async def open(self) -> None:
        """Start to listen; entering the context does it too.

        Raises:
            OSError: The port is taken.
        """
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        # The signature covers the raw bytes: a parsed and re-encoded body may differ.
        body = await request.read()
        self.counts.requests += 1
        if self._behaviour.hang:
            await self._hang(body)
        if self._behaviour.delay_s > 0:
            await asyncio.sleep(self._behaviour.delay_s)
        try:
            message_id = self._verified(request.headers, body)
        except InvalidSignatureError as error:
            self.counts.refused += 1
            self._print_line(f"webhook REFUSED: {error}")
            return web.Response(status=_UNAUTHORISED, text=str(error))
        self.counts.verified += 1
        status = self._status()
        if not _is_success(status):
            self._line(message_id, body, f"answered {status} on purpose")
            return web.Response(status=status, headers=self._headers(), text="failing on purpose")
        if message_id in self._handled:
            self.counts.duplicates += 1
            self._line(message_id, body, "duplicate")
        else:
            self._handle(message_id, body)
            self._line(message_id, body, "")
        # A duplicate gets a success too: otherwise the sender would retry it.
        return web.Response(status=status)

    async def _hang(self, body: bytes) -> None:
        self._print_line(f"webhook not answered: {summarise_message(parse_body(body))}")
        await asyncio.Event().wait()

    def _verified(self, headers: Mapping[str, str], body: bytes) -> str:
        if not self._keys:
            if not self._unsigned:
                raise InvalidSignatureError("the secret is not known yet")
            return headers.get("webhook-id", "?")
        return verify_signature(self._keys, headers, body, time.time())

    def _status(self) -> int:
        """Choose the status for a verified message."""
        if self.counts.failed >= self._behaviour.fail_first:
            return self._behaviour.status
        self.counts.failed += 1
        return _FAILING if self._behaviour.retry_after_s is None else _FAILING_FOR_NOW

    def _headers(self) -> dict[str, str]:
        seconds = self._behaviour.retry_after_s
        return {} if seconds is None else {"Retry-After": str(seconds)}

    def _handle(self, message_id: str, body: bytes) -> None:
        """Handle a message once; this example counts it."""
        self.counts.by_type[get_message_type(parse_body(body))] += 1
        self._handled[message_id] = None
        if len(self._handled) > _MAX_IDS:
            # Bounds the memory of a receiver that runs for weeks; retries end after days.
            del self._handled[next(iter(self._handled))]

    def _line(self, message_id: str, body: bytes, remark: str) -> None:
        if len(self._attempts) > _MAX_IDS:
            self._attempts.clear()
        self._attempts[message_id] += 1
        checked = "verified" if self._keys else "unchecked"
        parts = ["webhook", checked, message_id[:_ID_SHOWN], summarise_message(parse_body(body))]
        if self._attempts[message_id] > 1:
            parts.append(f"(attempt {self._attempts[message_id]})")
        if remark:
            parts.append(f"[{remark}]")
        self._print_line(" ".join(parts))


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - HTTP's range of success


async def run_receiver(receiver: WebhookReceiver) -> None:
    """Run a receiver until cancelled."""
    try:
        await receiver.open()
    except OSError as error:
        raise UnreachableError(f"{error.strerror or error}: choose another port with --port") from error
    async with receiver:
        print(f"listening on {receiver.url}", flush=True)
        await asyncio.Event().wait()
