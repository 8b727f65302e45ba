"""Compares the log that the settings name with the one that `ingest_positions` belongs to.

Records that were not read yet wait in that log. A process with other settings would never read them, or would
append to another log than its peers read. So it does not start until `vigie close-log` has found the former
log read to its end, and has removed the rows.
"""

from typing import Final, Literal, NamedTuple

from app.message_log.settings import MessageLogSettings
from app.platform.db.database import RawConnection

_CREATE: Final = """
INSERT INTO ingest_positions (partition, log_name)
SELECT partition, $2 FROM generate_series(0, $1::integer - 1) AS partition
WHERE NOT EXISTS (SELECT FROM ingest_positions)
ON CONFLICT DO NOTHING
"""
# Rows of the first release have no name.
_NAME: Final = "UPDATE ingest_positions SET log_name = $1 WHERE log_name = ''"
_FIND: Final = "SELECT count(*), coalesce(max(log_name), '') FROM ingest_positions"
_REMOVE: Final = "DELETE FROM ingest_positions"

type LogSettingsCode = Literal["log_settings_differ", "partitions_setting_differs"]


class LogSettingsError(Exception):
    """The settings name another log than the one that is in use.

    Attributes:
        code: A stable code.
        detail: What differs, and what to do.
    """

    def __init__(self, code: LogSettingsCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class LogInUse(NamedTuple):
    """The log that the rows of `ingest_positions` belong to.

    Attributes:
        partitions: Its number of partitions; 0: no log is in use.
        name: Its engine and name, as `name_log` makes it; empty: not known.
    """

    partitions: int
    name: str


def name_log(settings: MessageLogSettings) -> str:
    """Return engine and name of a log, for instance `jetstream/vigie`; `none` without a log."""
    return "none" if settings.engine == "none" else f"{settings.engine}/{settings.name}"


def find_difference(settings: MessageLogSettings, used: LogInUse) -> LogSettingsError | None:
    """Return what differs between the settings and the log in use; None: nothing. Pure."""
    wanted = name_log(settings)
    if not used.partitions:
        return None
    if wanted == "none" or used.name not in {"", wanted}:
        return LogSettingsError(
            "log_settings_differ",
            f"VIGIE_MESSAGE_LOG__ENGINE and VIGIE_MESSAGE_LOG__NAME say {wanted}, but the message log "
            f"{used.name or 'of this database'} is in use, and may have records that were not read yet. Set "
            "them back. To change them: stop the edges, wait until the workers have read the log to its end "
            "(GET /v1/cluster: lag_records 0), stop the workers, and run `vigie close-log`; with "
            "`--discard-unread` if that log is gone.",
        )
    if used.partitions != settings.partitions:
        return LogSettingsError(
            "partitions_setting_differs",
            f"VIGIE_MESSAGE_LOG__PARTITIONS is {settings.partitions}, but the log was started with "
            f"{used.partitions} partitions. Set it back. To change it: stop the edges, wait until the "
            "workers have read the log to its end, stop the workers, run `vigie close-log`, and set another "
            "VIGIE_MESSAGE_LOG__NAME too.",
        )
    return None


async def find_log_in_use(connection: RawConnection) -> LogInUse:
    """Return the log that the database has positions of."""
    count, name = await connection.fetchrow(_FIND) or (0, "")
    return LogInUse(count, name)


async def check_log_settings(connection: RawConnection, settings: MessageLogSettings) -> None:
    """Refuse settings of another log than the one in use.

    Raises:
        LogSettingsError: Engine, name or number of partitions differ.
    """
    difference = find_difference(settings, await find_log_in_use(connection))
    if difference is not None:
        raise difference


async def create_positions(connection: RawConnection, settings: MessageLogSettings) -> None:
    """Create the rows of all partitions when there are none.

    Raises:
        LogSettingsError: There are rows of another log.
    """
    await connection.execute(_CREATE, settings.partitions, name_log(settings))
    await check_log_settings(connection, settings)
    await connection.execute(_NAME, name_log(settings))


async def remove_positions(connection: RawConnection) -> None:
    """Remove the rows: no log is in use any more."""
    await connection.execute(_REMOVE)
