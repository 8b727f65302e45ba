"""Assigns sites to partitions of the log: all boxes of a site are in one partition. Pure.

Migration 0051 has the same function in SQL (`site_partition`).
"""

from collections.abc import Iterable
from uuid import UUID
from zlib import crc32


def find_site_partition(site_id: UUID, partitions: int) -> int:
    """Return the partition of a site: its last 32 bits, which are random, modulo the number of partitions."""
    return (site_id.int & 0xFFFFFFFF) % partitions


def find_unknown_box_partition(box_id: str, partitions: int) -> int:
    """Return the partition of a box that is not registered, and of other topics."""
    return crc32(box_id.encode()) % partitions


class OwnedPartitions:
    """The partitions that one ingest worker reads, and with them the boxes that it alone writes.

    Args:
        count: The number of partitions of the log.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._owned: frozenset[int] = frozenset()
        self._sites: dict[UUID, bool] = {}

    @property
    def numbers(self) -> list[int]:
        """The owned partitions, in order."""
        return sorted(self._owned)

    def replace(self, partitions: Iterable[int]) -> None:
        """Own exactly these from now on."""
        self._owned = frozenset(partitions)
        self._sites.clear()

    def owns_site(self, site_id: UUID) -> bool:
        """Whether the messages of a site's boxes are in an owned partition."""
        known = self._sites.get(site_id)
        if known is None:
            known = self._sites[site_id] = find_site_partition(site_id, self.count) in self._owned
        return known
