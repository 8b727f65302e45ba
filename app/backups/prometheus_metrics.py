"""Declares the Prometheus gauges of backups and of the WAL archive.

They export timestamps, not ages: an age would stop growing if `maintain` stopped.
"""

from app.platform.observability.metric_types import Gauge

BACKUP_CONFIGURED = Gauge("vigie_backup_configured", "1 if backups are set up (VIGIE_BACKUP__RECOVERY_KEY)")
BACKUP_NEWEST = Gauge(
    "vigie_backup_newest_timestamp_seconds", "Time at which the newest backup ended; 0: there is none"
)
BACKUP_VERIFIED = Gauge(
    "vigie_backup_verified_timestamp_seconds",
    "Time at which the newest verified backup ended; 0: there is none",
)
BUNDLE_KEYS_LOST = Gauge(
    "vigie_recovery_bundle_keys_lost",
    "Encryption keys of the recovery bundle that secrets need, and `maintain` does not have: it does not "
    "replace the bundle",
)
ARCHIVE_FAILING = Gauge(
    "vigie_wal_archive_failing",
    "1 while the newest attempt to archive WAL failed, or it is not archived to the repository",
)
ARCHIVE_FAILURES = Gauge(
    "vigie_wal_archive_failures", "Failed attempts to archive WAL since the database's statistics were reset"
)
ARCHIVE_LAG = Gauge("vigie_wal_archive_lag_bytes", "Bytes of WAL that are written and not archived yet")
