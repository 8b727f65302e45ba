"""Stores the status that boxes report: online or offline, firmware, battery and signal strength."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.platform.db.database import RawConnection


class StatusRow(NamedTuple):
    """The status that a box last reported. None leaves the stored value."""

    state: str
    firmware: str | None
    battery: float | None
    rssi: float | None

    def over(self, former: "StatusRow | None") -> "StatusRow":
        """Fill in the missing values from an earlier status."""
        if former is None:
            return self
        return StatusRow(
            self.state,
            former.firmware if self.firmware is None else self.firmware,
            former.battery if self.battery is None else self.battery,
            former.rssi if self.rssi is None else self.rssi,
        )


async def store_statuses(
    connection: RawConnection, statuses: Mapping[int, StatusRow], *, now: datetime
) -> None:
    """Store the newest status of each box (by its key), in the caller's transaction."""
    if not statuses:
        return
    keys = sorted(statuses)
    rows = [statuses[key] for key in keys]
    await connection.execute(
        """
        UPDATE boxes b SET
            state_at = CASE WHEN b.state IS DISTINCT FROM s.state THEN $6 ELSE b.state_at END,
            state = s.state,
            firmware = coalesce(s.firmware, b.firmware),
            battery = coalesce(s.battery, b.battery),
            rssi = coalesce(s.rssi, b.rssi)
        FROM unnest($1::int[], $2::text[], $3::text[], $4::float8[], $5::float8[])
             AS s (key, state, firmware, battery, rssi)
        WHERE b.key = s.key
        """,
        keys,
        [row.state for row in rows],
        [row.firmware for row in rows],
        [row.battery for row in rows],
        [row.rssi for row in rows],
        now,
    )
