"""What the broker says of itself under `$SYS`, and what of it is new. Pure: no connection, no clock.

Owns the meaning of Mosquitto's counters, which begin anew when it restarts. Must not know where they come
from, nor who is told.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

TOPICS: Final = {
    "$SYS/broker/uptime": "uptime",
    "$SYS/broker/publish/messages/dropped": "dropped",
    "$SYS/broker/clients/expired": "expired",
    "$SYS/broker/clients/connected": "connected",
    "$SYS/broker/clients/disconnected": "away",
    "$SYS/broker/store/messages/count": "stored",
    "$SYS/broker/store/messages/bytes": "stored_bytes",
}
"""Topic → the name of its figure. Each is retained, and published when it has changed."""

# Of a count that a database can hold; and of so many seconds that began in a year that there is.
_DIGITS: Final = 18
_UPTIME_DIGITS: Final = 10
# Of two estimates of one start: what `$SYS` says may be as old as its interval, 10 s by default.
_SAME_RUN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class AnnouncedDrops:
    """How far a counter of dropped messages was told of before.

    Attributes:
        total: dropped since the broker's start.
        started_at: when the broker started, to within some ten seconds.
    """

    total: int
    started_at: datetime


@dataclass(slots=True)
class _Counter:
    """A counter of the broker's; `last` is None until it was seen."""

    last: int | None = None

    def risen(self, total: int, *, anew: bool) -> int:
        """Tell by how much it rose. One that fell, or whose broker started anew, began at 0."""
        before = 0 if self.last is None or anew or total < self.last else self.last
        self.last = total
        return total - before


@dataclass(slots=True)
class BrokerCounters:
    """The broker's figures, and what rose since they were last settled.

    Attributes:
        known: what was told before this process began, so that it is not told again.
        figures: name → newest value; names are those of TOPICS.
        started_at: when the broker started.
    """

    known: AnnouncedDrops | None = None
    figures: dict[str, int] = field(default_factory=dict)
    started_at: datetime | None = None
    _dropped: _Counter = field(default_factory=_Counter)
    _expired: _Counter = field(default_factory=_Counter)

    @property
    def total(self) -> int:
        """Messages dropped since the broker's start, as far as they were settled."""
        return self._dropped.last or 0

    def connected(self) -> None:
        """Forget the figures of the connection before: the broker may be another one by now."""
        self.figures.clear()

    def take(self, topic: str, payload: bytes) -> None:
        """Note a message under `$SYS`; what is no figure is passed over."""
        name = TOPICS.get(topic)
        number = payload.split(b" ", 1)[0]  # "12 seconds"
        if name is not None and number.isdigit():
            # Cut: an operator's own broker may let others write there.
            self.figures[name] = int(number[: _UPTIME_DIGITS if name == "uptime" else _DIGITS])

    def settle(self, now: datetime) -> tuple[int, int]:
        """Give how many messages were dropped, and sessions expired, since this was last asked.

        What was dropped before the watch began counts the first time, less what is `known` of the same run.
        Sessions that expired before it began do not: that may be long ago.

        Args:
            now: aware.
        """
        if not {"uptime", "dropped"} <= self.figures.keys():
            return 0, 0
        started_at = now - timedelta(seconds=self.figures["uptime"])
        anew = self.started_at is not None and started_at - self.started_at > _SAME_RUN
        if self.started_at is None or anew:
            self.started_at = started_at
        total = self.figures["dropped"]
        if self._dropped.last is None and self.known is not None:
            same = abs(started_at - self.known.started_at) <= _SAME_RUN and total >= self.known.total
            self._dropped.last = self.known.total if same else 0
        dropped = self._dropped.risen(total, anew=anew)
        expired = 0
        if "expired" in self.figures:
            first = self._expired.last is None
            risen = self._expired.risen(self.figures["expired"], anew=anew)
            expired = 0 if first else risen
        return dropped, expired
