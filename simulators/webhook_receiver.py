"""A client's webhook receiver: verifies, knows repetitions, answers, prints one line for each message.

It does in this order what the guide advises (docs/webhooks.md): read the raw body, verify it, look whether
its `webhook-id` was handled before, handle it, answer. Owns the HTTP side and the deliberate faults (another
status, a failing start, delay, no answer at all). Signatures are webhook.py's, texts those of messages.py.
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
_ID_SHOWN = 64  # all of an id of Vigie's; a stranger's may have any length
_MAX_BODY = 1_048_576
_MAX_IDS = 100_000


@dataclass(frozen=True, slots=True)
class ReceiverBehaviour:
    """How the receiver answers.

    Attributes:
        status: The status of an answer to a verified message.
        fail_first: The first so many verified requests are answered with 500; with 503 where `retry_after_s`
            is set.
        delay_s: Waited before each answer (seconds).
        retry_after_s: Given with every failure as `Retry-After` (seconds).
        hang: Nothing is ever answered.
    """

    status: int = 204
    fail_first: int = 0
    delay_s: float = 0.0
    retry_after_s: int | None = None
    hang: bool = False


@dataclass(slots=True)
class ReceiverCounts:
    """What came in.

    Attributes:
        requests: All of them.
        verified: Those whose signature was right.
        refused: Those whose signature was not.
        failed: Those answered with 500 or 503 on purpose.
        duplicates: Verified ones whose `webhook-id` had been answered with success before.
        by_type: Those that were handled, by their type: without the duplicates.
    """

    requests: int = 0
    verified: int = 0
    refused: int = 0
    failed: int = 0
    duplicates: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


class WebhookReceiver:
    """An async context manager: listens while it is open.

    `secret` may be set later: until then everything is refused, unless `unsigned` allows it.
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
            port: The port; 0 takes a free one.
            secret: The endpoint's secret, `whsec_…`; several while it is being changed.
            unsigned: Take messages without checking them while no secret is set.
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
        # In a program of your own these ids belong into the database, beside what handling them changed.
        self._handled: dict[str, None] = {}
        self._attempts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self.counts = ReceiverCounts()

    def use_secret(self, secret: str) -> None:
        """Check with another secret from now on."""
        self._keys = [decode_secret(secret)]

    @property
    def url(self) -> str:
        """Where to send webhooks to."""
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
        """Listen; entering the context does it too.

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
        # The bytes as they came: what a JSON library writes anew has another signature.
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
            self._line(message_id, body, "seen before")
        else:
            self._handle(message_id, body)
            self._line(message_id, body, "")
        # Also for one that is known: otherwise it would come again.
        return web.Response(status=status)

    async def _hang(self, body: bytes) -> None:
        self._print_line(f"webhook left without an answer: {summarise_message(parse_body(body))}")
        await asyncio.Event().wait()

    def _verified(self, headers: Mapping[str, str], body: bytes) -> str:
        if not self._keys:
            if not self._unsigned:
                raise InvalidSignatureError("the secret is not known yet")
            return headers.get("webhook-id", "?")
        return verify_signature(self._keys, headers, body, time.time())

    def _status(self) -> int:
        """What to answer a verified message with."""
        if self.counts.failed >= self._behaviour.fail_first:
            return self._behaviour.status
        self.counts.failed += 1
        return _FAILING if self._behaviour.retry_after_s is None else _FAILING_FOR_NOW

    def _headers(self) -> dict[str, str]:
        seconds = self._behaviour.retry_after_s
        return {} if seconds is None else {"Retry-After": str(seconds)}

    def _handle(self, message_id: str, body: bytes) -> None:
        """Do what has to be done once: here it is counted."""
        self.counts.by_type[get_message_type(parse_body(body))] += 1
        self._handled[message_id] = None
        if len(self._handled) > _MAX_IDS:
            # A receiver left on for weeks must not grow for ever; repetitions come within days.
            del self._handled[next(iter(self._handled))]

    def _line(self, message_id: str, body: bytes, remark: str) -> None:
        if len(self._attempts) > _MAX_IDS:
            self._attempts.clear()
        self._attempts[message_id] += 1
        checked = "verified" if self._keys else "unchecked"
        parts = ["webhook", checked, message_id[:_ID_SHOWN], summarise_message(parse_body(body))]
        if self._attempts[message_id] > 1:
            parts.append(f"(time {self._attempts[message_id]})")
        if remark:
            parts.append(f"[{remark}]")
        self._print_line(" ".join(parts))


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - what HTTP calls a success


async def run_receiver(receiver: WebhookReceiver) -> None:
    """Run a receiver until cancelled."""
    try:
        await receiver.open()
    except OSError as error:
        raise UnreachableError(f"{error.strerror or error}: choose another port with --port") from error
    async with receiver:
        print(f"listening on {receiver.url}", flush=True)
        await asyncio.Event().wait()
