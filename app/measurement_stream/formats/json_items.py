"""Encodes items and batches as plain JSON."""

from typing import Any, Final

import msgspec

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import format_us

MEDIA_TYPE: Final = "application/json"

_encoder: Final = msgspec.json.Encoder()


def describe_item(item: Item) -> dict[str, Any]:
    """Return the JSON object of an item; `seq`, `late` and `detail` only where it has them."""
    shown: dict[str, Any] = {
        "id": item.id,
        "kind": item.kind,
        "organisation_id": item.organisation_id,
        "site_id": item.site_id,
        "box": item.box,
        "time": format_us(item.time_us),
        "values": item.values,
    }
    if item.seq is not None:
        shown["seq"] = item.seq
    if item.late:
        shown["late"] = item.late
    if item.detail is not None:
        shown["detail"] = item.detail
    return shown


def encode_item(item: Item) -> bytes:
    """Encode an item as a JSON object."""
    return _encoder.encode(describe_item(item))


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode a batch as a JSON object with its `items`."""
    return _encoder.encode(
        {
            "id": batch.id,
            "subscription_id": batch.subscription_id,
            "organisation_id": batch.organisation_id,
            "items": [describe_item(item) for item in batch.items],
        }
    )
