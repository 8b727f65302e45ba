"""Defines the items of the measurement stream, positions in it, and filters. Pure.

An item has the position of its commit, and its index in that commit. Both stay, whatever is filtered, erased
or no longer permitted: a reader that has processed an item resumes after its (position, index).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

type ItemKind = Literal["sample", "event", "correction", "hour"]

KINDS: Final[tuple[ItemKind, ...]] = ("sample", "event", "correction", "hour")
"""The kinds of items."""


@dataclass(frozen=True, slots=True, order=True)
class StreamPosition:
    """An offset in the stream: everything up to this item has been read.

    Attributes:
        position: of the commit; 0 is before all commits.
        index: of the item in the commit; -1 is before its first item.
    """

    position: int
    index: int


@dataclass(frozen=True, slots=True)
class Item:
    """One measurement of the stream.

    Attributes:
        position: of the commit that it is part of.
        index: in that commit.
        kind: what it is.
        organisation_id: the organisation of the box.
        site_id: the site of the box now.
        box: the box's public id.
        time_us: measurement time (µs since the epoch); of an hour its begin, of a correction the begin of
            its validity.
        seq: as the box sent it.
        values: metric → value as stored, in catalogue order; empty for events and corrections, the means of
            an hour.
        late: the metrics whose values were late.
        detail: of an event its type and candidates, of a correction the correction, of an hour its
            aggregates, coverage and version; None for samples.
        positioned_us: when it got its position (µs since the epoch, by the database's clock).
        box_number: the box's number in the register, of which ids in SensorThings are made.
    """

    position: int
    index: int
    kind: ItemKind
    organisation_id: UUID
    site_id: UUID
    box: str
    time_us: int
    seq: int | None
    values: Mapping[str, float]
    late: tuple[str, ...] = ()
    detail: Mapping[str, Any] | None = None
    positioned_us: int = 0
    box_number: str = ""

    @property
    def id(self) -> str:
        """The item's id, which is the same for ever: `POSITION-INDEX`."""
        return f"{self.position}-{self.index}"


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """Which items a reader gets; None: no limit.

    Attributes:
        sites: of boxes at these sites.
        boxes: of these boxes (public ids).
        metrics: only values of these metrics, in this order; items without any of them are left out.
        kinds: of these kinds.
    """

    sites: frozenset[UUID] | None = None
    boxes: frozenset[str] | None = None
    metrics: tuple[str, ...] | None = None
    kinds: frozenset[str] | None = None


class ItemPage(NamedTuple):
    """A page of items, in order.

    Attributes:
        items: those that pass the filter and that the reader may see.
        next: where the next page begins; also past filtered items.
        full: whether there may be more items now.
        next_us: no commit after `next` got its position before this time (µs since the epoch, by the
            database's clock).
        read_us: when the page was read, by the same clock.
    """

    items: list[Item]
    next: StreamPosition
    full: bool
    next_us: int = 0
    read_us: int = 0
