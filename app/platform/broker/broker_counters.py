"""Parses the broker's `$SYS` metrics and computes increases of its counters. Pure: no connection, no clock.

Mosquitto's counters start at 0 again when it restarts.
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
"""Topic → name of the metric. Each topic is retained, and published when it changes."""

# Digits of a count that fits the database's integers, and of an uptime that gives a valid date.
_DIGITS: Final = 18
_UPTIME_DIGITS: Final = 10
# Tolerance between two estimates of one start: `$SYS` is as old as its interval, 10 s by default.
_SAME_RUN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class AnnouncedDrops:
    """The dropped messages that were already notified.

    Attributes:
        total: dropped since the broker's start.
        started_at: when the broker started, within some ten seconds.
    """

    total: int
    started_at: datetime


@dataclass(slots=True)
class _Counter:
    """A counter of the broker; `last` is None before its first value."""

    last: int | None = None

    def increase(self, total: int, *, restarted: bool) -> int:
        """Return the increase. A counter that fell, or of a broker that restarted, started at 0."""
        before = 0 if self.last is None or restarted or total < self.last else self.last
        self.last = total
        return total - before


@dataclass(slots=True)
class BrokerCounters:
    """The broker's metrics, and their increases since the last `settle`.

    Attributes:
        known: drops notified before this process started, so that they are not notified again.
        figures: name → newest value, with the names of TOPICS.
        started_at: when the broker started.
    """

    known: AnnouncedDrops | None = None
    figures: dict[str, int] = field(default_factory=dict)
    started_at: datetime | None = None
    _dropped: _Counter = field(default_factory=_Counter)
    _expired: _Counter = field(default_factory=_Counter)

    @property
    def total(self) -> int:
        """Messages dropped since the broker's start, as of the last `settle`."""
        return self._dropped.last or 0

    def connected(self) -> None:
        """Clear the metrics of the previous connection: the broker may be another one."""
        self.figures.clear()

    def take(self, topic: str, payload: bytes) -> None:
        """Record a message under `$SYS`; ignore unknown topics and payloads that are no numbers."""
        name = TOPICS.get(topic)
        number = payload.split(b" ", 1)[0]  # "12 seconds"
        if name is not None and number.isdigit():
            # Truncated: on an operator's own broker others may write there.
            self.figures[name] = int(number[: _UPTIME_DIGITS if name == "uptime" else _DIGITS])

    def settle(self, now: datetime) -> tuple[int, int]:
        """Return how many messages were dropped and sessions expired since the last call.

        The first call includes drops from before the monitor started, minus those `known` of the same run of
        the broker. Sessions that expired before are not included: that may be long ago.

        Args:
            now: the current time (aware).
        """
        if not {"uptime", "dropped"} <= self.figures.keys():
            return 0, 0
        started_at = now - timedelta(seconds=self.figures["uptime"])
        restarted = self.started_at is not None and started_at - self.started_at > _SAME_RUN
        if self.started_at is None or restarted:
            self.started_at = started_at
        total = self.figures["dropped"]
        if self._dropped.last is None and self.known is not None:
            same = abs(started_at - self.known.started_at) <= _SAME_RUN and total >= self.known.total
            self._dropped.last = self.known.total if same else 0
        dropped = self._dropped.increase(total, restarted=restarted)
        expired = 0
        if "expired" in self.figures:
            first = self._expired.last is None
            expired_now = self._expired.increase(self.figures["expired"], restarted=restarted)
            expired = 0 if first else expired_now
        return dropped, expired
