"""Reads samples of a box with those around them, a piece at a time, in columns.

Owns the query and its bounds. Samples come by COPY as records of one length: of a million rows, objects
would take seconds and hundreds of megabytes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import INDEX, Metric
from app.platform.db.database import get_driver_connection
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, US_PER_S, to_datetime
from app.timeseries.quality.quality_flags import FlagEvaluator, MetricSamples
from app.timeseries.rollups.rollup_columns import Floats

SAMPLES_PER_READ: Final = 200_000
"""So many samples are read at a time."""
MAX_SAMPLES_IN_MEMORY: Final = 1_000_000
"""So many are in memory at once: a piece, and what lies around it. A day of ten a second is fewer."""
_HEADER_BYTES: Final = 19
_TRAILER_BYTES: Final = 2
# PostgreSQL counts time from 2000.
_POSTGRES_EPOCH_US: Final = EARLIEST_US
_SAMPLES: Final = """
SELECT time, coalesce("{name}", 'NaN') AS value, coalesce(late >> {bit} & 1, 0) = 1 AS late{more}
FROM tenant_samples
WHERE box_key = {key:d} AND time >= '{first}' AND time < '{last}'{condition}
ORDER BY time LIMIT {limit:d}
"""


@dataclass(frozen=True, slots=True)
class SampleSpan:
    """What is read of a box.

    Attributes:
        key: the box.
        metric: of the catalogue.
        first_us, last_us: from when on, before when (µs since the epoch).
        most: so many samples may be looked at.
        around_us: so much before and after it at least.
        humidity: whether humidity is wanted too.
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
    """Samples of which those from `first` on, before `last` (places), have all around them that they need.

    Attributes:
        samples: in columns.
        humidity: of each, NaN where it has none; empty where it was not asked for.
        own: the places that this piece is for: those of other pieces are others.
    """

    samples: MetricSamples
    humidity: Floats
    own: slice


async def read_samples_with_context(
    session: AsyncSession, span: SampleSpan, evaluator: FlagEvaluator
) -> AsyncIterator[SamplesWithContext]:
    """Read a span, with what its flags go by (InvalidError `range_too_large`)."""
    before_us = max(evaluator.before_us, span.around_us)
    after_us = max(evaluator.after_us, span.around_us)
    at = max(span.first_us - before_us, EARLIEST_US)
    end = min(span.last_us + after_us, LATEST_US)
    done, scanned = span.first_us, 0
    # All of a query's stretch is sorted, whatever is taken of it: it has about as much as a piece takes.
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
            yield carried.piece(slice(first, last))
            carried = carried.since(until - before_us)
            done = until


def make_too_large_error(scanned: float, most: int) -> InvalidError:
    """What whoever asks for too much is told."""
    return InvalidError(
        f"Flags and corrections are made of samples, of which at most {most:,} are looked at, with those "
        f"around them; here there are about {scanned:,.0f} or more. Ask for less at a time, and see that the "
        "box's `interval_s` is how often it samples: it says how much around a sample is looked at.",
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
        # Each field follows its length, each record the number of its fields.
        record = np.dtype(
            [
                ("fields", ">i2"),
                *(each for name, kind in fields for each in ((f"{name}_bytes", ">i4"), (name, kind))),
            ]
        )
        return cls(np.frombuffer(data, record), span.humidity)

    @property
    def times(self) -> NDArray[np.int64]:
        return self.rows["time"].astype(np.int64) + _POSTGRES_EPOCH_US

    def and_then(self, others: "_Columns") -> "_Columns":
        return (
            others if not len(self.rows) else _Columns(np.concatenate([self.rows, others.rows]), self.humid)
        )

    def since(self, time_us: int) -> "_Columns":
        return _Columns(self.rows[np.searchsorted(self.times, time_us) :], self.humid)

    def piece(self, own: slice) -> SamplesWithContext:
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
    # Names are the catalogue's; key and times are numbers and instants of ours: COPY takes no parameters.
    await connection.copy_from_query(statement, output=collect, format="binary")
    return _Columns.of(bytes(received[_HEADER_BYTES:-_TRAILER_BYTES]), span)
