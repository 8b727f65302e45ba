"""Finds the time up to which the messages of all partitions are stored.

Rules of silence need it: a box whose messages wait somewhere is not silent. Each edge reports a time up to
which it has appended to the log all that its broker had delivered (`edges.drained_at`). Once all workers have
committed what the log had after these reports were read, all messages until the earliest of these times are
stored.

A worker waits for the partitions of the others too: the last messages of a box that has moved to a site of
its partitions may be in one of theirs.

An edge that no longer reports holds the time back for a minute, in which its boxes connect elsewhere.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from app.message_log.positions import read_positions
from app.platform.broker.edges import RegisteredEdge, list_edges
from app.platform.db.database import RawConnection

_PATIENCE_S: Final = 60.0
_EVERY_S: Final = 1.0


def find_drained_time(edges: list[RegisteredEdge]) -> datetime | None:
    """Return the time up to which all edges that count have appended everything; None if one does not say.

    Pure. An edge does not count once it has not reported for a minute, or has not reached its broker for a
    minute: boxes that it does not serve have had as long to connect elsewhere.
    """
    times = [edge.drained_at for edge in edges if edge.silent_s < _PATIENCE_S and not _is_cut_off(edge)]
    known = [at for at in times if at is not None]
    return min(known) if known and len(known) == len(times) else None


def _is_cut_off(edge: RegisteredEdge) -> bool:
    since = edge.drained_at or edge.started_at
    return not edge.connected and (edge.seen_at - since).total_seconds() > _PATIENCE_S


class DrainWatermark:
    """The time up to which the messages of all partitions are stored."""

    def __init__(self) -> None:
        self._asked_at = 0.0
        # A time that the edges report, and when it was read (monotonic).
        self._drained: tuple[datetime, float] | None = None
        self._awaited: dict[int, int] | None = None
        self._reached: datetime | None = None
        self._compared_at = 0.0

    async def advance(
        self,
        connection: RawConnection,
        newest: tuple[float, Mapping[int, int]] | None,
        committed: Mapping[int, int],
    ) -> datetime | None:
        """Return the newest time that is reached; None if none is since the last call.

        Args:
            connection: The connection.
            newest: When the newest positions of the log were requested (monotonic seconds), and what they
                are; None: not known now.
            committed: The committed position of each owned partition.
        """
        if self._drained is None and time.monotonic() - self._asked_at >= _EVERY_S:
            self._asked_at = time.monotonic()
            at = find_drained_time(await list_edges(connection))
            if at is not None and (self._reached is None or at > self._reached):
                self._drained = at, time.monotonic()
        if self._drained is None:
            return None
        at, read_at = self._drained
        if self._awaited is None and newest is not None and newest[0] >= read_at:
            self._awaited = dict(newest[1])
        if self._awaited is None or not await self._is_committed(connection, self._awaited, committed):
            return None
        self._drained = self._awaited = None
        self._reached = at
        return at

    async def _is_committed(
        self, connection: RawConnection, awaited: Mapping[int, int], committed: Mapping[int, int]
    ) -> bool:
        """Return whether all partitions are committed up to the awaited positions."""
        if any(committed[number] < position for number, position in awaited.items() if number in committed):
            return False
        others = [number for number, position in awaited.items() if position and number not in committed]
        if not others:
            return True
        if time.monotonic() - self._compared_at < _EVERY_S:
            return False
        self._compared_at = time.monotonic()
        found = await read_positions(connection, others)
        return all(found.get(number, 0) >= awaited[number] for number in others)

    def reset(self) -> None:
        """Restart after a change of the owned partitions."""
        self._drained = self._awaited = None
