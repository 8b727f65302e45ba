"""Encodes samples as SenML (RFC 8428) in JSON.

The name of a record is `vigie:BOX:METRIC`, as the ingest of SenML reads it: a name begins with a letter or a
digit, and a box's id may not. Units are those of `senml_units`; a
metric without a unit in SenML has none.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from app.catalogue.metrics import METRICS_BY_NAME
from app.catalogue.senml_units import CONVERSIONS, UnitConversion
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import US_PER_S

MEDIA_TYPE: Final = "application/senml+json"

_DECIMALS: Final = 9
_SAME: Final = UnitConversion()
_encoder: Final = msgspec.json.Encoder()


def _convert(metric: str, value: float) -> tuple[str | None, float]:
    """Return SenML's unit of a metric, the first one of its list, and a value in that unit."""
    for unit, by in CONVERSIONS.get(METRICS_BY_NAME[metric].unit, {}).items():
        if by == _SAME:
            return unit, value
        return unit, round((value - by.plus) * by.over / by.times, _DECIMALS)
    return None, value


def _records(item: Item) -> Iterator[dict[str, Any]]:
    # The base fields apply to all later records, so each sample sets them once.
    base: dict[str, Any] = {"bn": f"vigie:{item.box}:", "bt": item.time_us / US_PER_S}
    for metric, stored in item.values.items():
        unit, value = _convert(metric, stored)
        yield {**base, "n": metric, **({} if unit is None else {"u": unit}), "v": value}
        base = {}


def encode_item(item: Item) -> bytes:
    """Encode a sample as a SenML pack."""
    return _encoder.encode(list(_records(item)))


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode the samples of a batch as one SenML pack."""
    return _encoder.encode([record for item in batch.items for record in _records(item)])
