"""The ways out, by the kind of endpoint.

Owns which kind is sent by what, and their opening and closing. Must not know what is sent.
"""

from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

from app.core.sealing import Sealer
from app.core.settings import Settings
from app.webhooks.attempt import Sender
from app.webhooks.mail.transport import Mailer
from app.webhooks.mqtt import Publisher
from app.webhooks.transport import Claim, Outcome, Transport


class Transports:
    """Every way out that this installation has. Open with `async with`.

    Args:
        settings: Those of each way out.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = AsyncExitStack()
        self._by_kind: dict[str, Transport] = {}

    async def __aenter__(self) -> Self:
        settings, opened = self._settings, self._opened
        self._by_kind["webhook"] = await opened.enter_async_context(
            Sender(settings.webhooks, Sealer.of(settings.encryption))
        )
        self._by_kind["email"] = await opened.enter_async_context(Mailer(settings.smtp))
        self._by_kind["mqtt"] = await opened.enter_async_context(Publisher(settings.broker))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def send(self, claimed: Claim, now: datetime) -> Outcome:
        """Attempt a delivery by the way that its endpoint's kind goes."""
        transport = self._by_kind.get(claimed.kind)
        if transport is None:
            return Outcome("not_configured", None, None, 0.0)
        return await transport.send(claimed, now)
