"""Defines the source of an export's rows: the columns, and the query of one box's rows.

Raw samples are one source. Another one can have other rows of a box by time, such as hourly means. A source
does not know file formats.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Select, bindparam, or_, select
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.catalogue.metrics import CATALOGUE
from app.timeseries.storage.models import TENANT_SAMPLES

FIRST: Final = "first"
"""The parameter of a source's query with the start of all rows that it can return."""
LAST: Final = "last"
"""The parameter with the end (exclusive) of all rows that it can return."""


class ExportColumn(NamedTuple):
    """A value column.

    Attributes:
        name: in the file, and in the source's query.
        unit: of its values.
        description: of its values, in English.
        double: whether values are eight-byte floats, otherwise four-byte.
    """

    name: str
    unit: str
    description: str
    double: bool


class RowSource(Protocol):
    """Rows of boxes by time, with unique times per box."""

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """The value columns, in the file's order."""
        ...

    def rows(
        self, box_key: ColumnElement[int], since: ColumnElement[datetime], before: ColumnElement[datetime]
    ) -> Select[*tuple[Any, ...]]:
        """Build the query of one box's rows: `time`, and each column under its name; in no order.

        It may have the parameters FIRST and LAST, with the whole span as their values. A reader of fewer rows
        may set them to narrower times, so that the planner excludes more chunks.

        Args:
            box_key: the box.
            since: start, inclusive.
            before: end, exclusive.
        """
        ...


@dataclass(frozen=True, slots=True)
class RawSamples:
    """Samples as measured, if they have any of the metrics.

    Attributes:
        columns: the metrics.
        first: start of the whole span.
        last: end of the whole span, exclusive.
    """

    columns: tuple[ExportColumn, ...]
    first: datetime
    last: datetime

    @classmethod
    def of(cls, metrics: Iterable[str], first: datetime, last: datetime) -> "RawSamples":
        """Create the source of these metrics, with columns in catalogue order."""
        names = set(metrics)
        columns = tuple(
            ExportColumn(metric.name, metric.unit, metric.description, metric.storage != "real")
            for metric in CATALOGUE
            if metric.name in names
        )
        return cls(columns, first, last)

    def rows(
        self, box_key: ColumnElement[int], since: ColumnElement[datetime], before: ColumnElement[datetime]
    ) -> Select[*tuple[Any, ...]]:
        """Build the query of one box's rows, through the tenant view."""
        samples = TENANT_SAMPLES.c
        values = [samples[column.name] for column in self.columns]
        return select(samples.time, *values).where(
            samples.box_key == box_key,
            samples.time >= since,
            samples.time < before,
            # Constants, so that the planner excludes the chunks outside of the span.
            samples.time >= bindparam(FIRST, self.first, TIMESTAMP(timezone=True)),
            samples.time < bindparam(LAST, self.last, TIMESTAMP(timezone=True)),
            or_(*(value.is_not(None) for value in values)),
        )
