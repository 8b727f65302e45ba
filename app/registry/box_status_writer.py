"""Stores the status that boxes report: online or offline, firmware, battery and signal strength."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from app.platform.db.database import RawConnection

# The Last Will of a connection that the box has left: its old broker noticed late that it is gone. A batch in
# which the box came back and left again says more than the row.
_LATE_WILL: Final = """coalesce(
    s.state = 'offline' AND b.state = 'online' AND s.edges <> '' AND s.online_edge IS NULL
    AND b.edge <> ALL (string_to_array(s.edges, ','))
    AND EXISTS (SELECT FROM edges e WHERE e.name = b.edge AND e.seen_at > now() - interval '1 minute'), false
)"""
_STORE: Final = f"""
UPDATE boxes b SET
    state_at = CASE WHEN b.state IS DISTINCT FROM s.state AND NOT {_LATE_WILL} THEN $7 ELSE b.state_at END,
    state = CASE WHEN {_LATE_WILL} THEN b.state ELSE s.state END,
    edge = CASE WHEN s.state = 'online' AND s.edges <> '' THEN s.edges
        ELSE coalesce(s.online_edge, b.edge) END,
    firmware = coalesce(s.firmware, b.firmware),
    battery = coalesce(s.battery, b.battery),
    rssi = coalesce(s.rssi, b.rssi)
FROM unnest($1::int[], $2::text[], $3::text[], $4::float8[], $5::float8[], $6::text[],
            $8::text[])
     AS s (key, state, firmware, battery, rssi, edges, online_edge)
WHERE b.key = s.key
"""  # noqa: S608 (constants)
_EDGES: Final = "SELECT key, edge FROM boxes WHERE key = ANY ($1::int[]) AND edge IS NOT NULL"


class StatusRow(NamedTuple):
    """The status that a box last reported. None leaves the stored value.

    With several brokers, `offline` counts only from the edge that received the last `online`, as long as that
    edge reports.

    Attributes:
        state: "online" or "offline".
        firmware: The version.
        battery: The charge in %.
        rssi: The signal strength in dBm.
        edges: The edge that received `online`, or all that received `offline` since; empty with one broker.
        online_edge: With `offline`: the edge that received the last `online` before, in the same batch.
    """

    state: str
    firmware: str | None
    battery: float | None
    rssi: float | None
    edges: tuple[str, ...] = ()
    online_edge: str | None = None

    def over(self, former: "StatusRow | None") -> "StatusRow":
        """Fill in the missing values from an earlier status, and ignore a late Last Will."""
        if former is None:
            return self
        state, edges, online_edge = self.state, self.edges, None
        if state == "offline" and former.state == "offline":
            edges, online_edge = tuple(sorted({*edges, *former.edges})), former.online_edge
        elif state == "offline" and edges and former.edges and former.edges != edges:
            state, edges = former.state, former.edges
        elif state == "offline" and former.edges:
            (online_edge,) = former.edges
        return StatusRow(
            state,
            former.firmware if self.firmware is None else self.firmware,
            former.battery if self.battery is None else self.battery,
            former.rssi if self.rssi is None else self.rssi,
            edges,
            online_edge,
        )


async def read_edges(connection: RawConnection, keys: Sequence[int]) -> dict[int, str]:
    """Return the edge through which each box (by its key) was last online; without boxes that had none."""
    return {row["key"]: row["edge"] for row in await connection.fetch(_EDGES, keys)}


async def store_statuses(
    connection: RawConnection, statuses: Mapping[int, StatusRow], *, now: datetime
) -> None:
    """Store the newest status of each box (by its key), in the caller's transaction."""
    if not statuses:
        return
    keys = sorted(statuses)
    rows = [statuses[key] for key in keys]
    await connection.execute(
        _STORE,
        keys,
        [row.state for row in rows],
        [row.firmware for row in rows],
        [row.battery for row in rows],
        [row.rssi for row in rows],
        [",".join(row.edges) for row in rows],
        now,
        [row.online_edge for row in rows],
    )
