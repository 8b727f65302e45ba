"""Runs the backup job of `vigie maintain`: metrics, the recovery bundle, and sealed values.

`maintain` has the encryption keys. PostgreSQL's account, which makes the backups, does not have them.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from app.backups.backup_repository import (
    find_lost_keys,
    mark_keys_checked,
    read_archive_state,
    read_backup_times,
    read_bundles,
    store_bundle,
)
from app.backups.prometheus_metrics import (
    ARCHIVE_FAILING,
    ARCHIVE_FAILURES,
    ARCHIVE_LAG,
    BACKUP_CONFIGURED,
    BACKUP_NEWEST,
    BACKUP_VERIFIED,
    BUNDLE_KEYS_LOST,
)
from app.backups.recovery_bundle import collect_keys
from app.backups.sealed_value_check import answer_value_checks
from app.backups.settings import BackupSettings
from app.platform.config.platform_settings import PlatformSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealing import SecretSealer, derive_key_name

_log = get_logger(__name__)


class BackupMaintenance:
    """Updates backup metrics, the recovery bundle and sealed value checks periodically.

    Args:
        settings: the settings of the process, with the encryption keys.
        backups: the settings of backups.
        sealer: opens sealed values.
    """

    def __init__(self, settings: PlatformSettings, backups: BackupSettings, sealer: SecretSealer) -> None:
        self._settings = settings
        self._backups = backups
        self._sealer = sealer
        self._sealed_digest: bytes | None = None
        self._lost_keys: list[str] = []

    async def run_once(self, connection: asyncpg.Connection) -> None:
        """Update the metrics, seal the bundle if it changed, and open values for a verification."""
        public = self._backups.public_key
        BACKUP_CONFIGURED.set(public is not None)
        if public is None:
            return
        newest, verified = await read_backup_times(connection)
        BACKUP_NEWEST.set(_timestamp(newest))
        BACKUP_VERIFIED.set(_timestamp(verified))
        archive = await read_archive_state(connection)
        ARCHIVE_FAILING.set(archive.is_failing)
        ARCHIVE_FAILURES.set(archive.failures)
        ARCHIVE_LAG.set(archive.lag_bytes)
        await self._update_bundle(connection)
        await answer_value_checks(connection, self._sealer)

    async def _update_bundle(self, connection: asyncpg.Connection) -> None:
        public = self._backups.public_key
        if public is None:
            return
        bundle, unreadable = await asyncio.to_thread(
            collect_keys, self._settings, self._backups.maintain_include
        )
        key_names = [derive_key_name(key) for key in bundle.encryption_keys]
        if await self._has_lost_keys(connection, key_names):
            return
        digest = bundle.digest
        stored = (await read_bundles(connection)).get("keys")
        known = None if stored is None else (stored.recipient, list(stored.unreadable))
        if known == (public.name, unreadable) and digest == self._sealed_digest:
            await mark_keys_checked(connection)
            return
        # The digest is not stored, so the keys are also sealed again at each start.
        await store_bundle(
            connection,
            "keys",
            recipient=public.name,
            key_names=key_names,
            unreadable=unreadable,
            content=public.seal(bundle.encode()),
        )
        self._sealed_digest = digest
        _log.info("recovery_bundle_sealed", recipient=public.name, files=len(bundle.files))
        if unreadable:
            _log.warning("recovery_bundle_incomplete", unreadable=unreadable)

    async def _has_lost_keys(self, connection: asyncpg.Connection, key_names: Sequence[str]) -> bool:
        """Return whether a new bundle would lack a key that secrets need; publish it, and log a change.

        Only the recovery key opens the stored bundle, so the lost keys cannot be added to a new one.
        """
        lost = await find_lost_keys(connection, key_names)
        BUNDLE_KEYS_LOST.set(len(lost))
        if lost and lost != self._lost_keys:
            _log.warning("recovery_bundle_not_replaced", lost_keys=lost)
        self._lost_keys = lost
        return bool(lost)


def _timestamp(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()
