"""Reads which partition of the message log each box belongs to, for the edges.

An edge has a copy of all boxes in memory, and reads what has changed since. Like the registry snapshot of
ingest it follows revisions: each transaction that changes a box takes the next version of the registry.
"""

from collections.abc import AsyncIterator
from typing import Final

from app.platform.db.database import RawConnection

# A slice keeps the event loop busy for some 5 ms.
_SLICE: Final = 5000
_VERSION: Final = "SELECT version FROM registry"
_ALL: Final = """
SELECT key, id, site_partition(site_id, $1) FROM boxes
WHERE key > $2 AND deleted_at IS NULL ORDER BY key LIMIT $3
"""
# By id, not by key: another box may have the id of a deleted one.
_CHANGED: Final = """
SELECT changed.id, site_partition(live.site_id, $1)
FROM (SELECT DISTINCT id FROM boxes WHERE revision > $2) AS changed
LEFT JOIN boxes live ON live.id = changed.id AND live.deleted_at IS NULL
"""


async def read_registry_version(connection: RawConnection) -> int:
    """Read the version of the registry, which each transaction that changes a box raises."""
    version: int = await connection.fetchval(_VERSION)
    return version


async def read_box_partitions(
    connection: RawConnection, partitions: int
) -> AsyncIterator[list[tuple[str, int]]]:
    """Yield (box id, partition) of all boxes, in slices.

    Boxes that change meanwhile may have either state: read the changes since the version from before.
    """
    last = 0
    while rows := await connection.fetch(_ALL, partitions, last, _SLICE):
        last = rows[-1][0]
        yield [(identifier, partition) for _, identifier, partition in rows]


async def read_changed_box_partitions(
    connection: RawConnection, partitions: int, since_version: int
) -> list[tuple[str, int | None]]:
    """Read (box id, partition) of the boxes that changed since a version; None: no box has the id now."""
    rows = await connection.fetch(_CHANGED, partitions, since_version)
    return [(identifier, partition) for identifier, partition in rows]
