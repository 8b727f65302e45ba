"""Receives webhooks, verifies them, and records how often each event came."""

import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web

from simulators.webhook_signatures import InvalidSignatureError, decode_secret, verify_signature

_UNAUTHORISED: Final = 401
_FAILING: Final = 500
_DONE: Final = 204


@dataclass
class WebhookLedger:
    """Receives webhooks, verifies their signatures, and counts them.

    Attributes:
        failing_share: the share of requests that it answers with 500 before it reads them.
        handled: how often each message was answered with 204, by `webhook-id`.
        of_alerts: the ids of the messages on an alert, by its id and the type of event.
        wrong: messages without a valid signature.
        failed: requests that it failed on purpose.
        port: the port it listens on.
        host: the address it listens on.
    """

    failing_share: float = 0.0
    handled: Counter[str] = field(default_factory=Counter)
    of_alerts: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    wrong: int = 0
    failed: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    _keys: list[bytes] = field(default_factory=list)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 (no secret)

    @property
    def url(self) -> str:
        """The address of the webhook."""
        return f"http://{self.host}:{self.port}/"

    @property
    def twice(self) -> int:
        """Messages that came again after they were handled."""
        return self.handled.total() - len(self.handled)

    def use_secret(self, secret: str) -> None:
        """Verify messages with this secret from now on."""
        self._keys = [decode_secret(secret)]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Receive for the length of a block."""
        application = web.Application()
        application.router.add_post("/", self._take)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, 0).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._chance.random() < self.failing_share:
            self.failed += 1
            return web.Response(status=_FAILING)
        try:
            message_id = verify_signature(self._keys, request.headers, body, time.time())
        except InvalidSignatureError as error:
            self.wrong += 1
            return web.Response(status=_UNAUTHORISED, text=str(error))
        self.handled[message_id] += 1
        event = json.loads(body)
        alert = event.get("data", {}).get("alert_id")
        if alert is not None:
            self.of_alerts.setdefault((alert, event["type"]), set()).add(message_id)
        return web.Response(status=_DONE)
