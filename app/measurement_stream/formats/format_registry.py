"""Lists the formats of measurements: which sinks use them, their media types and their encoders."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from app.measurement_stream.formats import (
    cloudevents,
    csv_lines,
    influx_lines,
    json_items,
    ngsi_ld,
    observations,
    senml,
)
from app.measurement_stream.items import KINDS, Item, ItemKind
from app.measurement_stream.measurement_batch import MeasurementBatch

type FormatName = Literal["json", "cloudevents", "senml", "csv", "influx", "sensorthings", "ngsi-ld"]


@dataclass(frozen=True, slots=True)
class MeasurementFormat:
    """A format.

    Attributes:
        media_type: of a batch.
        encode_batch: encodes a batch; None: the format has no bodies of a batch.
        item_media_type: of a single item.
        encode_item: encodes a single item; None: the format has no messages of one item.
        list_observations: splits an item into Observations, with topics of their own.
        kinds: the kinds of items that it can express.
    """

    media_type: str
    encode_batch: Callable[[MeasurementBatch], bytes] | None = None
    item_media_type: str = ""
    encode_item: Callable[[Item], bytes] | None = None
    list_observations: Callable[[Item], Iterable[observations.ObservationMessage]] | None = None
    kinds: tuple[ItemKind, ...] = ("sample",)


FORMATS: Final[Mapping[FormatName, MeasurementFormat]] = {
    "json": MeasurementFormat(
        json_items.MEDIA_TYPE,
        json_items.encode_batch,
        json_items.MEDIA_TYPE,
        json_items.encode_item,
        kinds=KINDS,
    ),
    "cloudevents": MeasurementFormat(
        cloudevents.BATCH_MEDIA_TYPE,
        cloudevents.encode_batch,
        cloudevents.MEDIA_TYPE,
        cloudevents.encode_item,
        kinds=KINDS,
    ),
    "senml": MeasurementFormat(senml.MEDIA_TYPE, senml.encode_batch, senml.MEDIA_TYPE, senml.encode_item),
    "csv": MeasurementFormat(csv_lines.MEDIA_TYPE, csv_lines.encode_batch),
    "influx": MeasurementFormat(influx_lines.MEDIA_TYPE, influx_lines.encode_batch),
    "sensorthings": MeasurementFormat(
        observations.MEDIA_TYPE,
        item_media_type=observations.MEDIA_TYPE,
        list_observations=observations.list_observations,
        kinds=("sample", "hour"),
    ),
    "ngsi-ld": MeasurementFormat(ngsi_ld.MEDIA_TYPE, ngsi_ld.encode_batch),
}
"""The formats by name."""
