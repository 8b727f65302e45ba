"""Assigns sites to partitions of the log: all boxes of a site are in one partition. Pure.

Migration 0051 has the same function in SQL (`site_partition`).
"""

from uuid import UUID
from zlib import crc32


def find_site_partition(site_id: UUID, partitions: int) -> int:
    """Return the partition of a site: its last 32 bits, which are random, modulo the number of partitions."""
    return (site_id.int & 0xFFFFFFFF) % partitions


def find_unknown_box_partition(box_id: str, partitions: int) -> int:
    """Return the partition of a box that is not registered, and of other topics."""
    return crc32(box_id.encode()) % partitions
