"""Defines the source of an export's rows: the columns, and the query of one box's rows.

Raw samples are one source. Another one can have other rows of a box by time, such as hourly means. A source
does not know file formats.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.catalogue.metrics import CATALOGUE
from app.registry.models import Box
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
        sites: by metric, the only sites whose values may be read; None, or no entry: all.
    """

    columns: tuple[ExportColumn, ...]
    first: datetime
    last: datetime
    sites: Mapping[str, Sequence[UUID] | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        metrics: Iterable[str],
        first: datetime,
        last: datetime,
        sites: Mapping[str, Sequence[UUID] | None] | None = None,
    ) -> "RawSamples":
        """Create the source of these metrics, with columns in catalogue order."""
        names = set(metrics)
        columns = tuple(
            ExportColumn(metric.name, metric.unit, metric.description, metric.storage != "real")
            for metric in CATALOGUE
            if metric.name in names
        )
        return cls(columns, first, last, sites or {})

    def rows(
        self, box_key: ColumnElement[int], since: ColumnElement[datetime], before: ColumnElement[datetime]
    ) -> Select[*tuple[Any, ...]]:
        """Build the query of one box's rows, through the tenant view."""
        samples = TENANT_SAMPLES.c
        values = [self._limit(column.name, box_key) for column in self.columns]
        return select(samples.time, *values).where(
            samples.box_key == box_key,
            samples.time >= since,
            samples.time < before,
            # Constants, so that the planner excludes the chunks outside of the span.
            samples.time >= bindparam(FIRST, self.first, TIMESTAMP(timezone=True)),
            samples.time < bindparam(LAST, self.last, TIMESTAMP(timezone=True)),
            or_(*(value.is_not(None) for value in values)),
        )

    def _limit(self, name: str, box_key: ColumnElement[int]) -> ColumnElement[Any]:
        """Return the values of a metric, without those of sites where it may not be read."""
        values, sites = TENANT_SAMPLES.c[name], self.sites.get(name)
        if sites is None:
            return values
        # One text: COPY has no parameters, and literals of arrays are texts.
        ids = cast(literal(f"{{{','.join(map(str, sites))}}}", Text), ARRAY(Uuid))
        readable = box_key.in_(select(Box.key).where(Box.site_id == any_(ids)))
        return case((readable, values)).label(name)
