"""Reads and writes `edges`: the brokers of an installation with several, and the reports of their edges.

An installation with one broker has no rows.
"""

from datetime import datetime
from typing import Final, NamedTuple

from app.platform.db.database import RawConnection

_LIST: Final = """
SELECT name, host, port, started_at, seen_at, extract(epoch FROM clock_timestamp() - seen_at) AS silent_s,
       connected, drained_at, boxes, unsent_messages, problem
FROM edges ORDER BY name
"""
_REPORT: Final = """
INSERT INTO edges (
    name, host, port, started_at, seen_at, connected, drained_at, boxes, unsent_messages, problem
) VALUES ($1, $2, $3, $4, clock_timestamp(), $5, $6, $7, $8, $9)
ON CONFLICT (name) DO UPDATE SET host = excluded.host, port = excluded.port,
    started_at = excluded.started_at, seen_at = excluded.seen_at, connected = excluded.connected,
    drained_at = coalesce(excluded.drained_at, edges.drained_at), boxes = excluded.boxes,
    unsent_messages = excluded.unsent_messages, problem = excluded.problem
WHERE edges.started_at = excluded.started_at OR edges.seen_at < clock_timestamp() - interval '5 seconds'
"""
EDGE_SILENT_S: Final = 10.0
"""An edge that has not reported for so long is silent: it ended, or cannot reach the database (seconds)."""

_REMOVE: Final = (
    "DELETE FROM edges WHERE name = $1 AND seen_at < clock_timestamp() - make_interval(secs => $2)"
)


class EdgeReport(NamedTuple):
    """The report of an edge, about once a second.

    Attributes:
        name: Its name.
        host: Where other machines reach its broker.
        port: The port.
        started_at: When its process started.
        connected: Whether it is connected to its broker.
        drained_at: Everything that its broker had delivered by then is in the log; None: not known yet.
        boxes: Clients connected to its broker; None: not known.
        unsent_messages: Messages that it has received and the log does not have yet.
        problem: Why it cannot work now, as a stable code; None if it can.
    """

    name: str
    host: str
    port: int
    started_at: datetime
    connected: bool
    drained_at: datetime | None
    boxes: int | None
    unsent_messages: int
    problem: str | None


class RegisteredEdge(NamedTuple):
    """An edge as the database knows it: its last report, with its age by the database's clock.

    Attributes:
        name, host, port, started_at, connected, drained_at: See `EdgeReport`.
        boxes, unsent_messages, problem: See `EdgeReport`.
        seen_at: When it last reported.
        silent_s: Seconds since then.
    """

    name: str
    host: str
    port: int
    started_at: datetime
    seen_at: datetime
    silent_s: float
    connected: bool
    drained_at: datetime | None
    boxes: int | None
    unsent_messages: int
    problem: str | None

    @property
    def is_alive(self) -> bool:
        """Whether it reported lately."""
        return self.silent_s < EDGE_SILENT_S


async def list_edges(connection: RawConnection) -> list[RegisteredEdge]:
    """List all edges by name."""
    return [
        RegisteredEdge(*row)._replace(silent_s=float(row["silent_s"]))
        for row in await connection.fetch(_LIST)
    ]


async def report_edge(connection: RawConnection, report: EdgeReport) -> bool:
    """Write the report of an edge. False while another process reports under its name."""
    status = await connection.execute(_REPORT, *report)
    return status != "INSERT 0 0"


async def remove_edge(connection: RawConnection, name: str) -> bool:
    """Remove an edge that no longer reports. False if there is none, or if it still reports."""
    status = await connection.execute(_REMOVE, name, EDGE_SILENT_S)
    return status == "DELETE 1"
