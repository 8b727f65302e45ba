"""Encodes items as CloudEvents 1.0: one in structured mode, several in the batch content mode."""

from typing import Any, Final

import msgspec

from app.measurement_stream.formats.json_items import describe_item
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import format_us

MEDIA_TYPE: Final = "application/cloudevents+json"
BATCH_MEDIA_TYPE: Final = "application/cloudevents-batch+json"

_PREFIX: Final = "vigie.measurement."
_encoder: Final = msgspec.json.Encoder()


def _wrap(item: Item) -> dict[str, Any]:
    """Return the event of an item. Source and id together are unique, as the specification requires.

    The source has no site: an item that is sent again after its box moved is the same event.
    """
    return {
        "specversion": "1.0",
        "id": item.id,
        "source": f"/organisations/{item.organisation_id}/boxes/{item.box}",
        "type": _PREFIX + item.kind,
        "subject": item.box,
        "time": format_us(item.time_us),
        "datacontenttype": "application/json",
        "data": describe_item(item),
    }


def encode_item(item: Item) -> bytes:
    """Encode an item as a CloudEvent."""
    return _encoder.encode(_wrap(item))


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode a batch as a JSON array of CloudEvents."""
    return _encoder.encode([_wrap(item) for item in batch.items])
