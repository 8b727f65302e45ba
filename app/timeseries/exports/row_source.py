"""What an export has rows of: the columns, and the query of one box's rows.

Owns the seam between exports and what is exported. Raw samples are one source; whatever has rows of a box by
time, such as means by the hour, can be another. Must not know how rows become a file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Select, or_, select

from app.catalogue.metrics import CATALOGUE
from app.timeseries.storage.models import TENANT_SAMPLES


class ExportColumn(NamedTuple):
    """A column of values.

    Attributes:
        name: in the file, and in the source's query.
        unit: of its values.
        description: what they are, in English.
        double: whether they have eight bytes; else four.
    """

    name: str
    unit: str
    description: str
    double: bool


class RowSource(Protocol):
    """Rows of boxes by time, a time at most once for each box."""

    @property
    def columns(self) -> tuple[ExportColumn, ...]:
        """The columns of values, in the file's order."""
        ...

    def rows(
        self, box_key: ColumnElement[int], since: ColumnElement[datetime], before: ColumnElement[datetime]
    ) -> Select[*tuple[Any, ...]]:
        """The query of one box's rows: `time`, and each column under its name; in no order.

        Args:
            box_key: the box.
            since: no row is before this.
            before: every row is before this.
        """
        ...


@dataclass(frozen=True, slots=True)
class RawSamples:
    """Samples as they were measured: those that have any of the metrics.

    Attributes:
        columns: the metrics.
        first: when the whole span begins.
        last: when it ends, excluded.
    """

    columns: tuple[ExportColumn, ...]
    first: datetime
    last: datetime

    @classmethod
    def of(cls, metrics: Iterable[str], first: datetime, last: datetime) -> "RawSamples":
        """Samples with these metrics, whose columns stand in the order of the catalogue."""
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
        """As the protocol says; through the view that shows the caller's samples alone."""
        samples = TENANT_SAMPLES.c
        values = [samples[column.name] for column in self.columns]
        return select(samples.time, *values).where(
            samples.box_key == box_key,
            samples.time >= since,
            samples.time < before,
            # Constants: they spare the planner the chunks outside of the span.
            samples.time >= self.first,
            samples.time < self.last,
            or_(*(value.is_not(None) for value in values)),
        )
