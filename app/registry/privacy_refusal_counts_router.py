"""Serves the daily counts of data refused because it has no declared purpose or its content is forbidden."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Text, cast, func, literal, select, tuple_

from app.catalogue.purposes import PurposeName
from app.platform.http.contract.fields import Identifier, InstantParameter
from app.platform.http.contract.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    cut_page,
    decode_cursor,
    encode_cursor,
)
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.dependencies import OrganisationFilter, SitesReader
from app.registry.models import DOOR_REFUSALS

router: Final = APIRouter(prefix="/v1/refusals", tags=["Purposes"])

type RefusalDoor = Literal["mqtt", "http", "rest"]
type RefusalCode = Literal[
    "purpose_not_declared",
    "purpose_not_approved",
    "purpose_ended",
    "forbidden_content",
    "camera_coupling",
    "unknown_event_type",
]
_DEFAULT_DAYS: Final = 30
_CURSOR: Final = "refusals"
_COLUMNS: Final = DOOR_REFUSALS.c
_OWNER_COLUMNS: Final = (_COLUMNS.organisation_id, _COLUMNS.site_id)
_REASON_COLUMNS: Final = (_COLUMNS.door, _COLUMNS.code, _COLUMNS.purpose)
# The order of rows, without nulls: the cursor compares by it.
_ORDER: Final = (
    _COLUMNS.day,
    *(func.coalesce(cast(each, Text), "") for each in (*_OWNER_COLUMNS, *_REASON_COLUMNS)),
)


class RefusalsOfDay(BaseModel):
    """The number of refusals of one day with the same site, endpoint, code and purpose."""

    day: date = Field(description="The day (UTC)")
    organisation_id: UUID | None = Field(description="The organisation; null: unknown")
    site_id: UUID | None = Field(description="The site; null: unknown")
    door: RefusalDoor = Field(
        description="The ingest endpoint: MQTT, HTTP ingest of boxes, or the body of a REST request"
    )
    code: RefusalCode = Field(description="The rejection code")
    purpose: PurposeName | None = Field(description="The purpose of the data; null: unknown")
    refused: int = Field(description="Number of refused messages, samples, events or bodies")


class RefusalsOut(BaseModel):
    """The counts of refusals for purpose or content in a range of days."""

    total: int = Field(description="Number of refusals in the whole range, on all pages")
    totals: dict[str, int] = Field(description="Number of refusals in the whole range, by rejection code")
    data: list[RefusalsOfDay]
    next: str | None = Field(description="Send this as `cursor` to get the next page; null on the last page")


class RefusalCountQuery(NamedTuple):
    """The conditions of the list; None: no condition. Days from `first`, before `last`."""

    first: date
    last: date
    site_id: UUID | None
    organisation_id: UUID | None
    code: str | None
    door: str | None
    purpose: str | None

    def conditions(self, visible: TenantScope) -> list[ColumnElement[bool]]:
        """Make the SQL conditions. Only the full tenant scope includes counts without an organisation."""
        filters = (
            (_COLUMNS.site_id, self.site_id),
            (_COLUMNS.organisation_id, self.organisation_id),
            (_COLUMNS.code, self.code),
            (_COLUMNS.door, self.door),
            (_COLUMNS.purpose, self.purpose),
        )
        return [
            _COLUMNS.day >= self.first,
            _COLUMNS.day < self.last,
            *(column == value for column, value in filters if value is not None),
            *visible.within(*_OWNER_COLUMNS),
        ]


async def _parse_query(  # noqa: PLR0917 (one for each parameter)
    from_: Annotated[
        InstantParameter | None,
        Query(alias="from", description="The first day (UTC) is the day of this time. Default: 30 days ago"),
    ] = None,
    to: Annotated[
        InstantParameter | None,
        Query(description="Only days that begin before this time. Default: until today"),
    ] = None,
    site: Annotated[Identifier | None, Query(description="Only of this site")] = None,
    organisation: OrganisationFilter = None,
    code: Annotated[RefusalCode | None, Query(description="Only this rejection code")] = None,
    door: Annotated[RefusalDoor | None, Query(description="Only this ingest endpoint")] = None,
    purpose: Annotated[PurposeName | None, Query(description="Only this purpose")] = None,
) -> RefusalCountQuery:
    now = datetime.now(UTC)
    last = now.date() + timedelta(days=1)
    if to is not None:
        last = (to.astimezone(UTC) + timedelta(days=1, microseconds=-1)).date()
    first = (now - timedelta(days=_DEFAULT_DAYS) if from_ is None else from_.astimezone(UTC)).date()
    if from_ is not None and to is not None and from_ > to:
        raise InvalidError("`from` is after `to`.", code="range_reversed")
    return RefusalCountQuery(first, last, site, organisation, code, door, purpose)


@router.get("", summary="List refusals for purpose or content", responses=document_problems(403))
async def list_refusals(
    principal: SitesReader,
    session: ReadSessionDep,
    query: Annotated[RefusalCountQuery, Depends(_parse_query)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> RefusalsOut:
    """Count data that were refused because the site has no purpose for them, or because of forbidden content.

    The counts are by day, site, endpoint, code and purpose, in the order of days. The refused data are not
    stored and cannot be read or replayed. `GET /v1/quarantine` lists what was refused for other reasons.
    """
    conditions = query.conditions(principal.visible())
    refused = func.sum(_COLUMNS.refused)
    by_code = select(_COLUMNS.code, refused).where(*conditions).group_by(_COLUMNS.code)
    totals = {code: int(number) for code, number in await session.execute(by_code.order_by(_COLUMNS.code))}
    page = select(_COLUMNS.day, *_OWNER_COLUMNS, *_REASON_COLUMNS, refused).where(*conditions)
    if cursor is not None:
        key = decode_cursor(_CURSOR, cursor, date.fromisoformat, *[_check_text] * (len(_ORDER) - 1))
        page = page.where(tuple_(*_ORDER) > tuple_(*(literal(part) for part in key)))
    page = page.group_by(_COLUMNS.day, *_OWNER_COLUMNS, *_REASON_COLUMNS).order_by(*_ORDER).limit(limit + 1)
    rows, following = cut_page((await session.execute(page)).all(), limit, _make_cursor)
    names = RefusalsOfDay.model_fields
    return RefusalsOut(
        total=sum(totals.values()),
        totals=totals,
        data=[RefusalsOfDay(**dict(zip(names, row, strict=True))) for row in rows],
        next=following,
    )


def _check_text(value: object) -> str:
    """Check that a part of a cursor is a text that PostgreSQL accepts (TypeError, ValueError)."""
    if not isinstance(value, str):
        raise TypeError
    if "\0" in value:
        raise ValueError
    value.encode()
    return value


def _make_cursor(row: Any) -> str:  # noqa: ANN401 (a row of the page)
    return encode_cursor(
        _CURSOR, row[0].isoformat(), *("" if part is None else str(part) for part in row[1:6])
    )
