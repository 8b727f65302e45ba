"""Finds the time up to which a broker is drained: all that it delivered by then is in the log. Pure.

Ingest runs the timers of silent boxes only up to that time. It is a time of the database's clock, which all
edges and workers share.
"""

from collections import deque
from datetime import datetime
from typing import Final

CONNECTED_FOR_S: Final = 5.0
"""After a connection the broker delivers its backlog for some seconds."""

FULL_BATCH_PAUSE_S: Final = 1.0
"""After a batch that was more than half full, more may wait at the broker."""

_MOST: Final = 60


class DrainedTimes:
    """Remembers times, each with the bytes that had been received by then.

    Bytes are settled when they are acknowledged, which is after they are in the log, in order of arrival.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[datetime, int]] = deque(maxlen=_MOST)

    def note(self, at: datetime, received_bytes: int) -> None:
        """Note a time, and the bytes received since the start until then or a little later."""
        self._noted.append((at, received_bytes))

    def clear(self) -> None:
        """Forget the noted times: the connection was lost, and messages with it."""
        self._noted.clear()

    def take(self, settled_bytes: int) -> datetime | None:
        """Return the newest noted time by which everything received is settled, and forget earlier ones."""
        drained = None
        while self._noted and self._noted[0][1] <= settled_bytes:
            drained, _ = self._noted.popleft()
        return drained
