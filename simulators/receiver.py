"""A client's webhook receiver: verifies, counts repetitions, prints one line for each message.

Owns the HTTP side and the deliberate faults (another status, a failing start, delay). Signatures are those
of webhook.py.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from simulators.rest import UnreachableError
from simulators.webhook import NotVerifiedError, secret_key, verify

_UNAUTHORISED = 401
_FAILING = 500
_ID_SHOWN = 16
_MAX_BODY = 1_048_576
_MAX_IDS = 100_000


@dataclass(frozen=True, slots=True)
class Manners:
    """How the receiver answers.

    Attributes:
        status: The status of an answer to a verified message.
        fail_first: The first so many verified requests are answered with 500.
        delay_s: Waited before each answer (seconds).
    """

    status: int = 204
    fail_first: int = 0
    delay_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """What came in.

    Attributes:
        requests: All of them.
        verified: Those whose signature was right.
        refused: Those whose signature was not.
        failed: Those answered with 500 on purpose.
        duplicates: Verified ones whose `webhook-id` had been answered with success before.
        by_type: Verified ones by their type, without the duplicates.
    """

    requests: int = 0
    verified: int = 0
    refused: int = 0
    failed: int = 0
    duplicates: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


class Receiver:
    """An async context manager: listens while it is open.

    `secret` may be set later: until then everything is refused, unless `unsigned` allows it.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: str | None = None,
        unsigned: bool = False,
        manners: Manners | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        """Prepare a receiver.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            secret: The endpoint's secret, `whsec_…`.
            unsigned: Take messages without checking them while no secret is set.
            manners: How to answer.
            say: Called with the line of each message.
        """
        self._host = host
        self._port = port
        self._key = secret_key(secret) if secret else None
        self._unsigned = unsigned
        self._manners = manners or Manners()
        self._say = say
        self._done: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self.tally = Tally()

    def use_secret(self, secret: str) -> None:
        """Check with another secret from now on."""
        self._key = secret_key(secret)

    @property
    def url(self) -> str:
        """Where to send webhooks to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/webhook"

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
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
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
        body = await request.read()
        self.tally.requests += 1
        if self._manners.delay_s > 0:
            await asyncio.sleep(self._manners.delay_s)
        try:
            message_id = self._verified(request.headers, body)
        except NotVerifiedError as error:
            self.tally.refused += 1
            self._say(f"webhook REFUSED: {error}")
            return web.Response(status=_UNAUTHORISED, text=str(error))
        if self.tally.failed < self._manners.fail_first:
            self.tally.failed += 1
            self._line(message_id, body, f"answered {_FAILING} on purpose")
            return web.Response(status=_FAILING, text="failing on purpose")
        self._count(message_id, body)
        return web.Response(status=self._manners.status)

    def _verified(self, headers: Mapping[str, str], body: bytes) -> str:
        if self._key is None:
            if not self._unsigned:
                raise NotVerifiedError("the secret is not known yet")
            return headers.get("webhook-id", "?")
        return verify(self._key, headers, body, time.time())

    def _count(self, message_id: str, body: bytes) -> None:
        self.tally.verified += 1
        success = 200 <= self._manners.status < 300  # noqa: PLR2004 - what HTTP calls a success
        repeated = self._done[message_id] > 0
        if repeated:
            self.tally.duplicates += 1
        elif success:
            self.tally.by_type[_read(body).get("type", "?")] += 1
        if success:
            if len(self._done) >= _MAX_IDS:
                self._done.clear()  # a receiver left on for weeks must not grow for ever
                self._attempts.clear()
            self._done[message_id] += 1
        self._line(message_id, body, "seen before" if repeated else "")

    def _line(self, message_id: str, body: bytes, remark: str) -> None:
        self._attempts[message_id] += 1
        checked = "unchecked" if self._key is None else "verified"
        parts = ["webhook", checked, message_id[-_ID_SHOWN:], describe(_read(body))]
        if self._attempts[message_id] > 1:
            parts.append(f"(time {self._attempts[message_id]})")
        if remark:
            parts.append(f"[{remark}]")
        self._say(" ".join(parts))


def _read(body: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        message = json.loads(body)
        if isinstance(message, dict):
            return message
    return {}


def describe(message: Mapping[str, Any]) -> str:
    """One line for a person: what happened, where, how much. Control characters are shown, not sent."""
    data = message.get("data")
    if not isinstance(data, dict):
        data = {}
    kind = str(message.get("type", "no type"))
    if "metric" not in data:
        return ascii(kind)[1:-1]
    value = data.get("resolved_value") if data.get("state") == "resolved" else data.get("value")
    value = data.get("value") if value is None else value
    when = data.get("resolved_at") or data.get("started_at")
    text = (
        f"{kind} {data.get('severity')} {data.get('box')} {data.get('metric')} {value} "
        f"(threshold {data.get('threshold')}) at {when}, sequence {data.get('sequence')}"
    )
    return ascii(text)[1:-1]


async def serve(receiver: Receiver) -> None:
    """Run a receiver until cancelled."""
    try:
        await receiver.open()
    except OSError as error:
        raise UnreachableError(f"{error.strerror or error}: choose another port with --port") from error
    async with receiver:
        print(f"listening on {receiver.url}", flush=True)
        await asyncio.Event().wait()
