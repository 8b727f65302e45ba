"""Runs the sequencer: assigns positions to committed measurements, in `vigie deliver`.

Each delivery process runs one; an advisory lock lets one of them work at a time. It polls, because a
notification would cost ingest a lock of the whole server at each commit.
"""

import asyncio
from typing import Final

from app.measurement_stream.prometheus_metrics import MEASUREMENT_POSITION_DELAY, MEASUREMENTS_POSITIONED
from app.platform.db.database import Database
from app.platform.db.notification_listener import LISTEN_ERRORS, wait_for_event
from app.platform.observability.metrics_and_logs import get_logger
from app.timeseries.commit_log.stream_positions import MOST_ASSIGNED, PositionAssigner

_POLL_S: Final = 0.1
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_log = get_logger(__name__)


async def run_sequencer(database: Database, stop: asyncio.Event) -> None:
    """Assign positions until `stop` is set. If the database is down, retries with a back-off."""
    wait = _FIRST_WAIT_S
    while not stop.is_set():
        try:
            connection = await database.connect()
            try:
                # A new one for each connection: after a failover ids can be lower.
                assigner = PositionAssigner(connection)
                while not stop.is_set():
                    assigned = await assigner.assign()
                    wait = _FIRST_WAIT_S
                    if assigned.rows:
                        MEASUREMENTS_POSITIONED.inc(assigned.items)
                        MEASUREMENT_POSITION_DELAY.observe(assigned.delay_s)
                    if assigned.rows < MOST_ASSIGNED:
                        await wait_for_event(stop, _POLL_S)
            finally:
                connection.terminate()
        except LISTEN_ERRORS as error:
            _log.warning("sequencer_failed", error=str(error) or type(error).__name__, wait_s=wait)
            await wait_for_event(stop, wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)
