"""Defines measurement batches: consecutive items for one subscription, under one id. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID, uuid5

from app.measurement_stream.items import Item, StreamPosition

MOST_ITEMS: Final = 5_000
"""The most items of a batch."""


def derive_batch_id(
    subscription_id: UUID, first: StreamPosition, last: StreamPosition, count: int, configuration: str = ""
) -> UUID:
    """Derive the id of a batch.

    Args:
        subscription_id: Its subscription.
        first: The offset of its first item.
        last: The offset of its last item.
        count: The number of its items. More of the same range may be seen after a change of access.
        configuration: What else determines its content.
    """
    span = f"{first.position}-{first.index}/{last.position}-{last.index}/{count}"
    return uuid5(subscription_id, f"{span}/{configuration}")


def locate_item(item: Item) -> StreamPosition:
    """Return the offset of an item."""
    return StreamPosition(item.position, item.index)


@dataclass(frozen=True, slots=True)
class MeasurementBatch:
    """What a sink gets at once.

    Attributes:
        id: the same on every attempt and replay; another one after a change of filter or format.
        subscription_id: the subscription.
        organisation_id: the subscription's organisation.
        items: in the order of the stream. Those that the subscription may no longer see are left out, so a
            repeated batch can have fewer.
        metrics: the metrics of the subscription's filter; None: all.
        delivery: the same on every attempt; another one after a rewind or for a replay.
    """

    id: UUID
    subscription_id: UUID
    organisation_id: UUID
    items: Sequence[Item]
    metrics: tuple[str, ...] | None = None
    delivery: str = ""

    @property
    def delivery_id(self) -> UUID:
        """Identifies the attempts of which one continues another: those of one delivery of this batch."""
        return uuid5(self.id, self.delivery)

    @classmethod
    def of(
        cls,
        subscription_id: UUID,
        organisation_id: UUID,
        items: Sequence[Item],
        metrics: tuple[str, ...] | None = None,
        configuration: str = "",
    ) -> Self:
        """Make the batch of items that were not sent before, by the configuration of the subscription."""
        first, last = locate_item(items[0]), locate_item(items[-1])
        identifier = derive_batch_id(subscription_id, first, last, len(items), configuration)
        return cls(identifier, subscription_id, organisation_id, items, metrics)
