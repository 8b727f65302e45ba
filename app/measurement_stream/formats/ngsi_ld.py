"""Encodes samples as NGSI-LD entities of the Smart Data Models, and batches as notifications."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from app.catalogue.smart_data_models import AIR, DEVICE, MODEL_ATTRIBUTES, NOISE
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import US_PER_MS, format_us

MEDIA_TYPE: Final = "application/ld+json"
CONTEXTS: Final = (
    "https://raw.githubusercontent.com/smart-data-models/dataModel.Environment/master/context.jsonld",
    "https://raw.githubusercontent.com/smart-data-models/dataModel.Device/master/context.jsonld",
    "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.6.jsonld",
)
"""What defines the names of types and attributes."""
_DECIMALS: Final = 9
_UUID_TIME_BITS: Final = 80
_encoder: Final = msgspec.json.Encoder()


def make_entity_id(model: str, name: str) -> str:
    """Return the id of an entity of a box: its public id, or its number in the register."""
    return f"urn:ngsi-ld:{model}:{name}"


def make_property(value: object, **more: str) -> dict[str, Any]:
    """Make a Property; `more` are properties of it, such as `observedAt`."""
    return {"type": "Property", "value": value, **more}


def make_time_property(time_us: int) -> dict[str, Any]:
    """Make a Property whose value is a time."""
    return make_property({"@type": "DateTime", "@value": format_us(time_us)})


def scale_value(value: float, factor: float) -> float:
    """Convert a value to the unit of a model."""
    # A product of floats has more digits than was measured.
    return value if factor == 1 else round(value * factor, _DECIMALS)


def build_observation(
    model: str, name: str, values: Mapping[str, tuple[int, float]]
) -> dict[str, Any] | None:
    """Build AirQualityObserved or NoiseLevelObserved from values of a box; None: it has none of the model.

    Args:
        model: the model.
        name: the public id of the box, or its number in the register.
        values: metric → time (µs since the epoch) and value.
    """
    attributes: dict[str, Any] = {}
    times: list[int] = []
    for metric, (time_us, value) in values.items():
        attribute = MODEL_ATTRIBUTES.get(metric)
        if attribute is None or attribute.model != model:
            continue
        times.append(time_us)
        attributes[attribute.name] = make_property(
            scale_value(value, attribute.factor), unitCode=attribute.unit, observedAt=format_us(time_us)
        )
    if not times:
        return None
    dates = ("dateObserved",) if model == AIR else ("dateObservedFrom", "dateObservedTo")
    return {
        "id": make_entity_id(model, name),
        "type": model,
        **{date: make_time_property(max(times)) for date in dates},
        "refDevice": {"type": "Relationship", "object": make_entity_id(DEVICE, name)},
        **attributes,
    }


def _list_entities(item: Item) -> Iterator[dict[str, Any]]:
    values = {metric: (item.time_us, value) for metric, value in item.values.items()}
    for model in (AIR, NOISE):
        entity = build_observation(model, item.box, values)
        if entity is not None:
            yield entity


def _find_notified_us(batch: MeasurementBatch) -> int:
    """Return when the newest item was committed, so that a repeated batch has the same bytes."""
    created_ms = batch.id.int >> _UUID_TIME_BITS
    # A test has no items; its id begins with the time at which it was created.
    return max((item.positioned_us for item in batch.items), default=created_ms * US_PER_MS)


def make_subscription_id(identifier: UUID) -> str:
    """Return the id of a subscription in NGSI-LD."""
    return f"urn:ngsi-ld:Subscription:{identifier}"


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode the samples of a batch as a notification; a sample of both models is two entities."""
    return _encoder.encode(
        {
            "id": f"urn:ngsi-ld:Notification:{batch.id}",
            "type": "Notification",
            "subscriptionId": make_subscription_id(batch.subscription_id),
            "notifiedAt": format_us(_find_notified_us(batch)),
            "data": [entity for item in batch.items for entity in _list_entities(item)],
            "@context": CONTEXTS,
        }
    )
