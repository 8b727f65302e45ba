"""Defines a leased subscription as the worker uses it, and reads it from its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.measurement_stream.items import StreamFilter, StreamPosition
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.notifications.delivery.endpoint_health import EndpointHealth
from app.platform.kernel.instants import parse_iso_duration
from app.platform.secrets.sealed_columns import MEASUREMENT_CREDENTIALS
from app.platform.secrets.sealing import SecretSealer


class WaitingItems(NamedTuple):
    """The items of a batch that is not full yet, which are not read again until it is due.

    Attributes:
        since: when the first of them got its position.
        searched: the offset up to which they were counted.
        found: their number.
    """

    since: datetime
    searched: StreamPosition
    found: int


@dataclass(slots=True)
class LeasedSubscription:
    """A subscription that this process may serve until its lease ends.

    Attributes:
        id: its id.
        organisation_id: the organisation whose items it gets.
        filter: which items.
        batch_size: the most items of a batch.
        max_age_s: how long the first item of a batch waits for others (s).
        cursor: everything up to here was sent or left out.
        waiting: the items after the cursor that wait for others; None: nothing is known of them.
        size_limit: the most items that fit the receiver; None: it has refused no batch for its size.
        health: the health of its sink.
        lease: the end of the lease, by which it is named.
        now: the database's time of the lease.
        version: when the configuration last changed.
    """

    id: UUID
    organisation_id: UUID
    filter: StreamFilter
    batch_size: int
    max_age_s: float
    cursor: StreamPosition
    waiting: WaitingItems | None
    size_limit: float | None
    health: EndpointHealth
    lease: datetime
    now: datetime
    version: datetime
    row: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `lease_due_subscriptions`."""
        metrics = row["metrics"]
        return cls(
            id=row["id"],
            organisation_id=row["organisation_id"],
            filter=StreamFilter(
                sites=None if row["site_ids"] is None else frozenset(row["site_ids"]),
                boxes=None if row["boxes"] is None else frozenset(row["boxes"]),
                metrics=None if metrics is None else tuple(metrics),
                kinds=frozenset(row["kinds"]),
            ),
            batch_size=row["batch_size"],
            max_age_s=parse_iso_duration(row["max_age"]),
            cursor=StreamPosition(row["cursor_position"], row["cursor_index"]),
            waiting=_read_waiting(row),
            size_limit=row["size_limit"],
            health=EndpointHealth(*(row[name] for name in _HEALTH)),
            lease=row["leased_until"],
            now=row["now"],
            version=row["updated_at"],
            row=row,
        )

    @property
    def most_items(self) -> int:
        """The most items of the next batch."""
        return self.batch_size if self.size_limit is None else min(self.batch_size, int(self.size_limit))

    @property
    def content_configuration(self) -> str:
        """What determines the content of a batch of given items: the filter and the format."""
        chosen = self.filter
        sites = None if chosen.sites is None else sorted(map(str, chosen.sites))
        boxes = None if chosen.boxes is None else sorted(chosen.boxes)
        parts = (
            self.row["format"],
            sites,
            boxes,
            chosen.metrics,
            None if chosen.kinds is None else sorted(chosen.kinds),
        )
        return msgspec.json.encode(parts).decode()

    def configure_sink(self, sealer: SecretSealer) -> SinkConfig:
        """Open the sink's secrets (SealingError)."""
        row = self.row
        sealed = row["credentials"]
        opened = "{}" if sealed is None else MEASUREMENT_CREDENTIALS.open(sealer, sealed, self.id)
        return SinkConfig(
            subscription_id=self.id,
            organisation_id=self.organisation_id,
            kind=row["sink"],
            format=row["format"],
            gzip=row["gzip"],
            metrics=self.filter.metrics,
            target=msgspec.json.decode(row["target"]),
            credentials=msgspec.json.decode(opened),
        )


def _read_waiting(row: Mapping[str, Any]) -> WaitingItems | None:
    if row["waiting_since"] is None or row["searched_position"] is None:
        return None
    searched = StreamPosition(row["searched_position"], row["searched_index"])
    return WaitingItems(row["waiting_since"], searched, row["found_count"])


_HEALTH: Final = EndpointHealth._fields
