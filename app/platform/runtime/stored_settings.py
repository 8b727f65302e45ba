"""Settings of the installation that administrators make by the API, as each process knows them.

Owns which of two sources counts: what the environment sets goes first, for whoever runs the machine has the
last word; what the API has stored counts where the environment sets nothing. A process looks every two
seconds whether that has changed. Must not write any of it (`app.settings`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, Self

from pydantic import SecretStr
from sqlalchemy import text

from app.platform.config.settings import SmtpSettings, VigieSettings
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealed_columns import INSTALLATION_SECRET
from app.platform.secrets.sealing import SealingError, SecretSealer

MAIL: Final = "mail"
PUBLIC_URL: Final = "public_url"

EVERY_S: Final = 2.0
"""How often a process looks, in seconds."""

type Source = Literal["environment", "database", "none"]
"""Where a setting comes from."""

READ: Final = text("SELECT name, value, private, secret FROM installation_settings")
"""What every process asks again and again, whatever else it does."""

_log = get_logger(__name__)


class StoredSmtpSettings(SmtpSettings):
    """A mail server that was set by the API: where it may be is guarded."""


class InstallationSettings:
    """What counts now.

    Args:
        settings: What the environment sets.
        sealer: Opens the mail server's password.
    """

    def __init__(self, settings: VigieSettings, sealer: SecretSealer) -> None:
        self._settings = settings
        self._sealer = sealer
        self._rows: dict[str, tuple[Any, Any, Any]] = {}
        self._smtp: SmtpSettings | None = None
        self._public_url = ""

    @classmethod
    async def of(cls, settings: VigieSettings, sealer: SecretSealer, database: Database) -> Self:
        """The one of a process; a database that is away is looked at again later."""
        made = cls(settings, sealer)
        with suppress(*DATABASE_ERRORS):
            await made.refresh(database)
        return made

    @property
    def mail_source(self) -> Source:
        """Where the mail server is set."""
        if self._settings.smtp.host is not None:
            return "environment"
        return "none" if self._smtp is None else "database"

    @property
    def smtp(self) -> SmtpSettings:
        """The mail server, the same object until it changes; its `host` is None where there is none."""
        if self._settings.smtp.host is not None or self._smtp is None:
            return self._settings.smtp
        return self._smtp

    @property
    def public_url_source(self) -> Source:
        """Where the public address is set."""
        if self._settings.api.public_url:
            return "environment"
        return "database" if self._public_url else "none"

    @property
    def public_url(self) -> str:
        """Where clients reach the API, without a slash at its end; empty where nobody said."""
        return (self._settings.api.public_url or self._public_url).rstrip("/")

    @property
    def base_url(self) -> str:
        """Where links begin, without a slash at the end."""
        return self.public_url or self._settings.api.base_url

    async def refresh(self, database: Database) -> None:
        """Read what is stored."""
        with run_with_full_scope():
            async with database.read() as session:
                rows = {row[0]: (row[1], row[2], row[3]) for row in await session.execute(READ)}
        if rows == self._rows:
            return
        url = rows.get(PUBLIC_URL)
        self._public_url = "" if url is None else str(url[0]["url"])
        if rows.get(MAIL) != self._rows.get(MAIL):
            self._smtp = self._mail_of(rows.get(MAIL))
        self._rows = rows
        _log.info("installation_settings_read", mail=self.mail_source, public_url=self.public_url_source)

    def _mail_of(self, row: tuple[Any, Any, Any] | None) -> SmtpSettings | None:
        if row is None:
            return None
        value: Mapping[str, Any]
        value, private, secret = row
        try:
            password = "" if secret is None else INSTALLATION_SECRET.open(self._sealer, secret, MAIL)
        except SealingError as error:
            _log.warning("mail_password_not_opened", error=str(error))
            return None
        usual = self._settings.smtp.model_dump()
        return StoredSmtpSettings.model_construct(
            **{**usual, **value, **private, "password": SecretStr(password)}
        )

    async def follow(self, database: Database, stop: asyncio.Event) -> None:
        """Look again and again, until `stop` is set."""
        while not await wait_until_set(stop, EVERY_S):
            try:
                await self.refresh(database)
            except DATABASE_ERRORS as error:
                _log.debug("installation_settings_not_read", error=repr(error))


async def wait_until_set(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for some seconds at most; tell whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


async def stop_tasks(tasks: Sequence[asyncio.Task[None]], seconds: float = 1.0) -> None:
    """Wait for tasks that were asked to end, then cancel those that did not."""
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
