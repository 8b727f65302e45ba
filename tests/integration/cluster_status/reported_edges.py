"""Writes reports of edges that do not run."""

from datetime import UTC, datetime

from app.platform.broker.edges import EdgeReport, report_edge
from app.platform.db.database import Database


async def report(database: Database, name: str, *, silent_s: float = 0.0) -> None:
    """Report as an edge did, some seconds ago."""
    connection = await database.connect()
    edge = EdgeReport(name, "127.0.0.1", 1883, datetime.now(UTC), True, None, 12, 3, None)
    await report_edge(connection, edge)
    await connection.execute(
        "UPDATE edges SET seen_at = clock_timestamp() - make_interval(secs => $2) WHERE name = $1",
        *(name, silent_s),
    )
    await connection.close()
