"""Encodes samples as CSV, with the columns, times and numbers of the exports.

The columns are the metrics of the subscription's filter, or all of the catalogue: the same in each batch.
"""

from collections.abc import Sequence
from typing import Final

from app.catalogue.metrics import COLUMNS
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import to_datetime
from app.timeseries.exports.text_formats import TEXT_FORMATS, format_number, format_time

MEDIA_TYPE: Final = TEXT_FORMATS["csv"].media_type

_END: Final = "\r\n"


def encode_line(item: Item, metrics: Sequence[str]) -> str:
    """Encode a sample as one line."""
    values = (item.values.get(metric) for metric in metrics)
    cells = ("" if value is None else format_number(value) for value in values)
    return (
        ",".join((item.box, str(item.site_id), f"{format_time(to_datetime(item.time_us))}Z", *cells)) + _END
    )


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode the samples of a batch as a CSV file with a header."""
    metrics = COLUMNS if batch.metrics is None else batch.metrics
    header = ",".join(("box", "site", "time", *metrics)) + _END
    return (header + "".join(encode_line(item, metrics) for item in batch.items)).encode()
