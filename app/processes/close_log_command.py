"""Implements `vigie close-log`: ends the use of a message log that was read to its end.

Its engine, name and number of partitions are fixed while it is in use (`app.message_log.log_ownership`).
"""

import asyncio
from typing import Final

import typer

from app.message_log.log_ownership import LogSettingsError, check_log_settings, remove_positions
from app.message_log.message_log import LogUnavailableError, MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.positions import PartitionPosition, list_positions
from app.platform.broker.edges import list_edges
from app.platform.db.advisory_lock_keys import CONSUMER
from app.platform.db.database import RawConnection
from app.processes.command_output import fail
from app.settings import VigieSettings
from app.standalone.command_database_connection import connect_for_command
from app.standalone.unprivileged_accounts import StandaloneError

# Each worker shares it from its start to its end, whether it owns a partition or not.
_EXCLUDE_WORKERS: Final = f"SELECT pg_try_advisory_lock({CONSUMER})"
_LOG_S: Final = 30.0
_RETRY_S: Final = 0.5


class LogNotClosedError(Exception):
    """The log must remain in use, for the reason in the text."""


async def close_log(settings: VigieSettings, *, discard_unread: bool) -> int:
    """Remove the positions of the log in use. No worker can start meanwhile.

    Args:
        settings: The settings under which the log is in use.
        discard_unread: Whether records may remain that were not read: any settings will do then.

    Returns:
        The number of its partitions; 0 if no log is in use.

    Raises:
        LogNotClosedError: An edge or a worker runs, there are unread records, or committed ones are missing.
        LogSettingsError: Another log is in use, and unread records may not be discarded.
        LogUnavailableError: The log does not answer, and unread records may not be discarded.
        StandaloneError: The database cannot be reached.
    """
    async with connect_for_command(
        settings.database, application="vigie-close-log", role="vigie_ingest"
    ) as connection:
        if not discard_unread:
            await check_log_settings(connection, settings.message_log)
        if not await list_positions(connection):
            return 0
        await _exclude_processes(connection)
        # Read again: a worker may have committed until it was excluded.
        positions = await list_positions(connection)
        if positions:
            if not discard_unread:
                await _check_unread(settings, positions)
            await remove_positions(connection)
        return len(positions)


async def _exclude_processes(connection: RawConnection) -> None:
    """Refuse while an edge or a worker runs; no worker joins until the connection ends."""
    has_workers = not await connection.fetchval(_EXCLUDE_WORKERS)
    if alive := [edge.name for edge in await list_edges(connection) if edge.is_alive]:
        raise LogNotClosedError(
            f"Edges append to the log: {', '.join(alive)}. Stop them, and wait ten seconds."
        )
    if has_workers:
        raise LogNotClosedError(
            "Ingest workers run, or another `vigie close-log`. Stop `vigie ingest` on all machines once "
            "GET /v1/cluster shows lag_records 0."
        )


async def _check_unread(settings: VigieSettings, positions: list[PartitionPosition]) -> None:
    log = make_message_log(settings.message_log, client="close-log")
    try:
        await _open(log)
        newest = {each.partition: await log.find_newest_position(each.partition) for each in positions}
    finally:
        await log.close()
    gone = [str(each.partition) for each in positions if newest[each.partition] < each.position]
    if gone:
        raise LogNotClosedError(
            f"Partitions that end before their committed position: {', '.join(gone)}. The log has lost "
            "records, or a node does not find them yet. Check its nodes and try again, or discard the log: "
            "--discard-unread."
        )
    unread = [
        f"{each.partition} ({newest[each.partition] - each.position})"
        for each in positions
        if newest[each.partition] > each.position
    ]
    if unread:
        raise LogNotClosedError(
            f"Partitions with unread records (their number): {', '.join(unread)}. Start the ingest workers "
            "without edges until GET /v1/cluster shows lag_records 0, or discard them: --discard-unread."
        )


async def _open(log: MessageLog) -> None:
    """Open a log within 30 s (LogUnavailableError)."""
    deadline = asyncio.get_running_loop().time() + _LOG_S
    while True:
        try:
            await log.open()
        except LogUnavailableError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_RETRY_S)
        else:
            return


def run_close_log(settings: VigieSettings, *, discard_unread: bool) -> None:
    """Close the log, and print the result; exits with 1, and the reason, if it must remain in use."""
    try:
        partitions = asyncio.run(close_log(settings, discard_unread=discard_unread))
    except (LogNotClosedError, LogSettingsError, LogUnavailableError, StandaloneError) as error:
        fail(error)
    if partitions:
        typer.echo(f"The log of {partitions} partitions is closed. Now change the settings of all machines.")
    else:
        typer.echo("No message log is in use. Nothing changed.")
