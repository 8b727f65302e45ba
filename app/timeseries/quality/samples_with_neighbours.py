"""Reads a box's samples in slices, each with the neighbouring samples that are needed to flag it.

Samples come by binary COPY as fixed-length records: Python objects of a million rows would take seconds and
hundreds of megabytes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import INDEX, Metric
from app.platform.db.database import get_driver_connection
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, POSTGRES_EPOCH_US, US_PER_S, to_datetime
from app.timeseries.quality.sample_flagging import FlagEvaluator, MetricSamples

SAMPLES_PER_READ: Final = 200_000
"""The number of samples in one read."""
MAX_SAMPLES_IN_MEMORY: Final = 1_000_000
"""The most samples in memory: a slice and its neighbours. A day at ten samples a second fits."""
_HEADER_BYTES: Final = 19
_TRAILER_BYTES: Final = 2
_SAMPLES: Final = """
SELECT time, coalesce("{name}", 'NaN') AS value, coalesce(late >> {bit} & 1, 0) = 1 AS late{more}
FROM tenant_samples
WHERE box_key = {key:d} AND time >= '{first}' AND time < '{last}'{condition}
ORDER BY time LIMIT {limit:d}
"""


@dataclass(frozen=True, slots=True)
class SampleSpan:
    """The samples to read of a box.

    Attributes:
        key: the box.
        metric: of the catalogue.
        first_us, last_us: start, inclusive, and end, exclusive (µs since the epoch).
        most: the most samples that may be read.
        around_us: the least time to read before and after (µs).
        humidity: whether to read humidity too.
    """

    key: int
    metric: Metric
    first_us: int
    last_us: int
    most: int
    around_us: int = 0
    humidity: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SamplesWithContext:
    """A slice of samples with all neighbours that their flags depend on.

    Attributes:
        samples: in columns.
        humidity: of each, NaN if it has none; empty if it was not requested.
        own: the samples that belong to this slice; the others are neighbours.
    """

    samples: MetricSamples
    humidity: FloatArray
    own: slice


async def read_samples_with_context(
    session: AsyncSession, span: SampleSpan, evaluator: FlagEvaluator
) -> AsyncIterator[SamplesWithContext]:
    """Read a range in slices, with the neighbours that flags depend on (InvalidError `range_too_large`)."""
    before_us = max(evaluator.before_us, span.around_us)
    after_us = max(evaluator.after_us, span.around_us)
    at = max(span.first_us - before_us, EARLIEST_US)
    end = min(span.last_us + after_us, LATEST_US)
    done, scanned = span.first_us, 0
    # PostgreSQL sorts the whole range of a query before it applies the limit. So a range is about as long as
    # one read.
    width_us = SAMPLES_PER_READ * evaluator.interval_s * US_PER_S
    carried = _Columns.of(b"", span)
    while done < span.last_us:
        read = await _read(session, span, at, min(at + width_us, end), needs_all=evaluator.needs_all)
        count = len(read.rows)
        scanned += count
        if scanned > span.most:
            raise make_too_large_error(scanned, span.most)
        carried = carried.and_then(read)
        if len(carried.rows) > MAX_SAMPLES_IN_MEMORY:
            raise make_too_large_error(len(carried.rows), MAX_SAMPLES_IN_MEMORY)
        if count == SAMPLES_PER_READ:
            following = int(read.times[-1]) + 1
            width_us = following - at
        else:
            following = min(at + width_us, end)
            width_us *= 2
        at = following
        until = span.last_us if at == end else min(span.last_us, at - after_us)
        if until > done:
            first, last = np.searchsorted(carried.times, [done, until]).tolist()
            yield carried.make_batch(slice(first, last))
            carried = carried.since(until - before_us)
            done = until


def make_too_large_error(scanned: float, most: int) -> InvalidError:
    """Build the error for a request that needs too many samples."""
    return InvalidError(
        f"Flags and corrections need about {scanned:,.0f} samples or more, neighbours included; the limit is "
        f"{most:,}. Request a shorter range, and check that the box's `interval_s` is its real sampling "
        "interval: it determines how many neighbours are read.",
        code="range_too_large",
        extra={"maximum_samples": most},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    rows: NDArray[Any]
    humid: bool

    @classmethod
    def of(cls, data: bytes, span: SampleSpan) -> "_Columns":
        kind = ">f4" if span.metric.storage == "real" else ">f8"
        fields = [("time", ">i8"), ("value", kind), ("late", "?")]
        if span.humidity:
            fields.append(("humidity", ">f4"))
        # In binary COPY the number of fields precedes each record, and its length each field.
        record = np.dtype(
            [
                ("fields", ">i2"),
                *(each for name, kind in fields for each in ((f"{name}_bytes", ">i4"), (name, kind))),
            ]
        )
        return cls(np.frombuffer(data, record), span.humidity)

    @property
    def times(self) -> NDArray[np.int64]:
        return self.rows["time"].astype(np.int64) + POSTGRES_EPOCH_US

    def and_then(self, others: "_Columns") -> "_Columns":
        return (
            others if not len(self.rows) else _Columns(np.concatenate([self.rows, others.rows]), self.humid)
        )

    def since(self, time_us: int) -> "_Columns":
        return _Columns(self.rows[np.searchsorted(self.times, time_us) :], self.humid)

    def make_batch(self, own: slice) -> SamplesWithContext:
        humidity = self.rows["humidity"].astype(np.float64) if self.humid else np.empty(0)
        return SamplesWithContext(
            MetricSamples(
                self.times, self.rows["value"].astype(np.float64), self.rows["late"].astype(np.bool_)
            ),
            humidity,
            own,
        )


async def _read(
    session: AsyncSession, span: SampleSpan, first_us: int, last_us: int, *, needs_all: bool
) -> _Columns:
    name = span.metric.name
    conditions = [f'"{each}" IS NOT NULL' for each in (name, *(["humidity"] if span.humidity else []))]
    statement = _SAMPLES.format(
        name=name,
        bit=INDEX[name],
        more=", coalesce(humidity, 'NaN') AS humidity" if span.humidity else "",
        key=span.key,
        first=to_datetime(first_us).isoformat(),
        last=to_datetime(last_us).isoformat(),
        condition="" if needs_all else f" AND ({' OR '.join(conditions)})",
        limit=SAMPLES_PER_READ,
    )
    received = bytearray()

    async def collect(data: bytes) -> None:
        received.extend(data)

    connection = await get_driver_connection(session)
    # COPY takes no parameters. All inserted values are catalogue names, integers, or instants formatted here.
    await connection.copy_from_query(statement, output=collect, format="binary")
    return _Columns.of(bytes(received[_HEADER_BYTES:-_TRAILER_BYTES]), span)
