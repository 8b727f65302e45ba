"""Reads places and boxes as features: pages in the order of their ids, and single ones.

The views are those of SensorThings: each connection sees the tenant scope of its caller, or open data.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    FromClause,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    and_,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.ogc_api.feature_json import Row
from app.ogc_api.query_parameters import DEFAULT_LIMIT, BoundingBox, TimeSpan
from app.platform.db.database import ReadSession
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.instants import to_datetime
from app.sensorthings.relations import BOXES
from app.standard_apis.query_error import QueryError

SITES: Final = Table(
    "sensorthings_sites",
    MetaData(),
    Column("site_id", Uuid),
    *(Column(name, Text) for name in ("site", "site_kind", "timezone", "address", "licence", "operator")),
    Column("longitude", Double),
    Column("latitude", Double),
    Column("precision_m", Integer),
    Column("located_at", TIMESTAMP(timezone=True)),
)
"""A row per site (`migrations.open_data_views`)."""


class FeatureSource(NamedTuple):
    """Where the features of a collection come from.

    Attributes:
        noun: one of them, in errors.
        source: the view.
        id: the column of the ids.
        parse_id: converts an id as text to a value of that column (ValueError).
    """

    noun: str
    source: FromClause
    id: ColumnElement[Any]
    parse_id: Any


PLACES: Final = FeatureSource("place", SITES, SITES.c.site_id, UUID)
BOX_FEATURES: Final = FeatureSource("box", BOXES, BOXES.c.number, str)


@dataclass(frozen=True, slots=True)
class FeatureQuery:
    """Selects a page of features.

    Attributes:
        bbox: in this rectangle; None: anywhere.
        span: that were there at some time of this range.
        limit: the most features of the page.
        after: the id of the last feature of the page before; None: the first page.
    """

    bbox: BoundingBox | None = None
    span: TimeSpan = field(default_factory=TimeSpan)
    limit: int = DEFAULT_LIMIT
    after: str | None = None


class FeaturePage(NamedTuple):
    """A page of features; `after` leads to the next one. `matched` is the number on all pages."""

    rows: list[Row]
    matched: int
    after: str | None


def _build_conditions(source: FromClause, query: FeatureQuery) -> list[ColumnElement[bool]]:
    columns = source.c
    # A box is there since it was registered or moved, without an end.
    where = [columns.located_at <= to_datetime(query.span.last_us)]
    if query.bbox is not None:
        west, south, east, north = query.bbox
        inside = and_(columns.longitude >= west, columns.longitude <= east)
        if west > east:
            inside = or_(columns.longitude >= west, columns.longitude <= east)
        where += [inside, columns.latitude >= south, columns.latitude <= north]
    return where


async def read_features(session: ReadSession, features: FeatureSource, query: FeatureQuery) -> FeaturePage:
    """Read a page of features (QueryError: the page does not exist)."""
    where = _build_conditions(features.source, query)
    count = select(func.count()).select_from(features.source).where(*where)
    matched = int((await session.execute(count)).scalar_one())
    if query.after is not None:
        try:
            where.append(features.id > features.parse_id(query.after))
        except ValueError:
            raise QueryError(
                "`after` does not belong to this query. Follow the link `next` as it is.",
                code="invalid_option",
                option="after",
            ) from None
    statement = select(features.source).where(*where).order_by(features.id).limit(query.limit + 1)
    rows: list[Row] = [dict(row) for row in (await session.execute(statement)).mappings()]
    page = rows[: query.limit]
    after = str(page[-1][features.id.name]) if len(rows) > query.limit else None
    return FeaturePage(page, matched, after)


async def find_feature(session: ReadSession, features: FeatureSource, identifier: str) -> Row:
    """Find a feature by its id (NotFoundError)."""
    try:
        wanted = features.parse_id(identifier)
    except ValueError:
        raise NotFoundError(features.noun, identifier) from None
    statement = select(features.source).where(features.id == wanted)
    found = (await session.execute(statement)).mappings().one_or_none()
    if found is None:
        raise NotFoundError(features.noun, identifier)
    return dict(found)


async def find_extent(session: ReadSession, features: FeatureSource) -> BoundingBox | None:
    """Return the smallest rectangle around all features; None: there are none."""
    columns = features.source.c
    statement = select(
        func.min(columns.longitude),
        func.min(columns.latitude),
        func.max(columns.longitude),
        func.max(columns.latitude),
    )
    west, south, east, north = (await session.execute(statement)).one()
    return None if west is None else BoundingBox(west, south, east, north)
