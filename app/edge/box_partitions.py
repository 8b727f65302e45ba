"""Knows the partition of each box and topic: a copy of the registry that works without the database.

All boxes of a site are in one partition, so that one ingest worker sees a site as a whole. The copy is a dict
of box ids, 96 MB for a million boxes. It is refreshed each second; while the database is away the last copy
is used.

The order of one box's messages holds although its partition may change: when a site moves a box, when a box
is registered or deleted, and when the copy was missing. Each of these is a change from one partition to
another, at a border between two batches. The first record of the new partition after it carries the newest
position of the former one (`LogRecord.after`), and ingest processes it only after that position. A partition
that changes back carries the same the other way.

An edge that has just started does not know how its predecessor split messages, since boxes may have moved
meanwhile. So its first record in each partition comes after all others. The same holds after a copy that was
read as a whole again.

An edge that starts while the database is away has no copy. After `FIRST_COPY_WAIT_S` it splits by
`find_unknown_box_partition`: messages are safer in the replicated log than in the broker, whose queue is
bounded and on one disk. Workers then treat the boxes as shared ones, which costs more and loses nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final

from app.edge.prometheus_metrics import EDGE_BOXES
from app.ingest.adapters.adapter_registry import match_topic
from app.ingest.codec.telemetry_codec import parse_topic
from app.message_log.partitions import find_unknown_box_partition
from app.platform.db.database import RawConnection
from app.registry.box_partition_queries import (
    read_box_partitions,
    read_changed_box_partitions,
    read_registry_version,
)

FIRST_COPY_WAIT_S: Final = 30.0
"""How long an edge waits for its first copy. The failover of a database takes some 20 s."""

_MAX_TOPICS: Final = 262_144
_MAX_CACHED_TOPIC: Final = 128


def find_topic_box(topic: str) -> str | None:
    """Return the box of a topic; None if it is no topic of a box."""
    found = parse_topic(topic) or match_topic(topic)
    return None if found is None else found[0]


class _TopicCache(dict[str, int]):
    """topic → partition, filled on first use. Emptied when it is full, and when the registry changes."""

    def __init__(self, find_partition: Callable[[str], int]) -> None:
        super().__init__()
        self._find_partition = find_partition

    def __missing__(self, topic: str) -> int:
        partition = self._find_partition(topic)
        # A topic may have 64 KiB.
        if len(topic) <= _MAX_CACHED_TOPIC:
            if len(self) >= _MAX_TOPICS:
                self.clear()
            self[topic] = partition
        return partition


class BoxPartitions:
    """The partitions of all boxes, and the changes that the next records must name.

    Args:
        partitions: The number of partitions.

    Attributes:
        find_partition: Finds the partition of a topic, from a cache.
        is_loaded: Whether there is a copy of the registry.
    """

    def __init__(self, partitions: int) -> None:
        self.is_loaded = False
        self._partitions = partitions
        self._boxes: dict[str, int] = {}
        self._version = 0
        self._topics = _TopicCache(self._find_topic_partition)
        self.find_partition: Callable[[str], int] = self._topics.__getitem__
        # partition → the partitions from which its boxes came since its last record.
        self._sources: dict[int, set[int]] = {}
        self._mark_all_moved()

    def _find_topic_partition(self, topic: str) -> int:
        box = find_topic_box(topic)
        if box is None:
            return find_unknown_box_partition(topic, self._partitions)
        return self.find_box_partition(box)

    def find_box_partition(self, box_id: str) -> int:
        """Return the partition of a box, registered or not."""
        partition = self._boxes.get(box_id)
        return find_unknown_box_partition(box_id, self._partitions) if partition is None else partition

    def take_sources(self, partitions: Iterable[int]) -> dict[int, frozenset[int]]:
        """Return the partitions that the next record of each of these must come after, and forget them.

        Take them in the same step of the event loop in which the messages are grouped.
        """
        taken = {each: frozenset(self._sources.pop(each, ())) for each in partitions}
        return {each: sources for each, sources in taken.items() if sources}

    def apply(self, changes: Iterable[tuple[str, int | None]]) -> None:
        """Apply changed boxes: (box id, its partition now; None: no box has this id)."""
        for box_id, partition in changes:
            former = self.find_box_partition(box_id)
            if partition is None:
                self._boxes.pop(box_id, None)
            else:
                self._boxes[box_id] = partition
            current = self.find_box_partition(box_id)
            if former != current:
                # Also partitions that the box has passed without a record.
                sources = self._sources.setdefault(current, set())
                sources |= {former} | self._sources.get(former, set())
                sources.discard(current)
        self._topics.clear()
        EDGE_BOXES.set(len(self._boxes))

    async def refresh(self, connection: RawConnection) -> None:
        """Update the copy from the database.

        Call it between two batches or during one: a batch is split without a wait, so with one copy.
        """
        version = await read_registry_version(connection)
        if version == self._version:
            return
        # The version only decreases when a backup was restored: then everything is read again.
        if not self.is_loaded or version < self._version:
            await self._load(connection)
        else:
            self.apply(await read_changed_box_partitions(connection, self._partitions, self._version))
        # The version was read before the rows: rows committed in between are read again next time.
        self._version = version

    async def _load(self, connection: RawConnection) -> None:
        boxes: dict[str, int] = {}
        async for rows in read_box_partitions(connection, self._partitions):
            boxes.update(rows)
        self._boxes = boxes
        self.is_loaded = True
        self._topics.clear()
        self._mark_all_moved()
        EDGE_BOXES.set(len(boxes))

    def _mark_all_moved(self) -> None:
        everything = frozenset(range(self._partitions))
        self._sources = {each: set(everything - {each}) for each in everything}
