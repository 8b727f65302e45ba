"""Finds the time up to which all messages of the owned partitions are stored.

Rules of silence need it: a box whose messages wait somewhere is not silent. Each edge reports a time up to
which it has appended to the log all that its broker had delivered (`edges.drained_at`). Once the worker has
committed what the log had after it read these reports, it has stored all messages until the earliest of these
times.

An edge that no longer reports holds the time back for a minute, in which its boxes connect elsewhere.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from app.message_log.message_log import MessageLog
from app.platform.broker.edges import Edge, list_edges
from app.platform.db.database import RawConnection

_PATIENCE_S: Final = 60.0
_EVERY_S: Final = 1.0


def find_drained_time(edges: list[Edge]) -> datetime | None:
    """Return the time up to which all edges that count have appended everything; None if one does not say.

    Pure.
    """
    times = [edge.drained_at for edge in edges if edge.silent_s < _PATIENCE_S]
    known = [at for at in times if at is not None]
    return min(known) if known and len(known) == len(times) else None


class DrainWatermark:
    """The time up to which all messages of the owned partitions are stored."""

    def __init__(self) -> None:
        self._asked_at = 0.0
        self._awaited: tuple[datetime, dict[int, int]] | None = None
        self._reached: datetime | None = None

    async def advance(
        self, connection: RawConnection, log: MessageLog, committed: Mapping[int, int]
    ) -> datetime | None:
        """Return the newest time that is reached; None if none is since the last call.

        Args:
            connection: The connection.
            log: The log.
            committed: The committed position of each owned partition.

        Raises:
            LogUnavailableError: The log does not answer.
        """
        if self._awaited is None and time.monotonic() - self._asked_at >= _EVERY_S:
            self._asked_at = time.monotonic()
            at = find_drained_time(await list_edges(connection))
            if at is None or (self._reached is not None and at <= self._reached):
                return None
            self._awaited = at, {number: await log.find_newest_position(number) for number in committed}
        if self._awaited is None:
            return None
        at, newest = self._awaited
        if any(committed.get(number, 0) < position for number, position in newest.items()):
            return None
        self._awaited, self._reached = None, at
        return at

    def reset(self) -> None:
        """Begin anew after a change of the owned partitions."""
        self._awaited = None
