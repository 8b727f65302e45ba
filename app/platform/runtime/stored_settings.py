"""Reads the settings that administrators set by the API, and combines them with the environment's.

The environment takes precedence, as the operator of the machine decides; stored settings apply where it sets
nothing. A process polls every two seconds. `app.installation_settings` writes these settings.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, Self

from fastapi import Depends
from pydantic import SecretStr
from sqlalchemy import text

from app.platform.config.platform_settings import PlatformSettings, SmtpSettings
from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealed_columns import INSTALLATION_SECRET
from app.platform.secrets.sealing import SealingError, SecretSealer

MAIL: Final = "mail"
PUBLIC_URL: Final = "public_url"

EVERY_S: Final = 2.0
"""Polling interval, in seconds."""

type Source = Literal["environment", "database", "none"]
"""Where a setting comes from."""

READ: Final = text("SELECT name, value, private, secret FROM installation_settings")
"""The query that every process polls."""

_MAIL_SERVER: Final = f"SELECT value::text FROM installation_settings WHERE name = '{MAIL}'"  # noqa: S608 (a constant)

_log = get_logger(__name__)


class StoredSmtpSettings(SmtpSettings):
    """A mail server that was set by the API: its address is restricted."""


class InstallationSettings:
    """The settings that apply now.

    Args:
        settings: The environment's settings.
        sealer: Decrypts the mail server's password.
    """

    def __init__(self, settings: PlatformSettings, sealer: SecretSealer) -> None:
        self._settings = settings
        self._sealer = sealer
        self._rows: dict[str, tuple[Any, Any, Any]] = {}
        self._smtp: SmtpSettings | None = None
        self._public_url = ""

    @classmethod
    async def of(cls, settings: PlatformSettings, sealer: SecretSealer, database: Database) -> Self:
        """Make the settings of a process; if the database is unavailable, they are read later."""
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
        """Where clients reach the API, without a trailing slash; empty where it is not set."""
        return (self._settings.api.public_url or self._public_url).rstrip("/")

    @property
    def base_url(self) -> str:
        """The base of links, without a trailing slash."""
        return self.public_url or self._settings.api.base_url

    async def refresh(self, database: Database) -> None:
        """Read the stored settings."""
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
        """Poll until `stop` is set."""
        while not await wait_until_set(stop, EVERY_S):
            try:
                await self.refresh(database)
            except DATABASE_ERRORS as error:
                _log.debug("installation_settings_not_read", error=repr(error))


async def read_stored_mail_server(connection: RawConnection) -> str | None:
    """Read the mail server that was set by the API, as JSON without its password; None if none was set."""
    found: str | None = await connection.fetchval(_MAIL_SERVER)
    return found


InstallationDependency = Annotated[
    InstallationSettings, Depends(make_resource_dependency(InstallationSettings))
]
"""FastAPI dependency: the settings that apply now."""


async def wait_until_set(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for some seconds at most; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


async def stop_tasks(tasks: Sequence[asyncio.Task[None]], seconds: float = 1.0) -> None:
    """Wait for tasks that should end, then cancel the others."""
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
