"""REST for what the doors refused for its purpose or its content: how much of what, by day; never what."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Text, cast, func, literal, select, tuple_

from app.catalogue.purposes import PurposeName
from app.platform.http.contract.dependencies import ReadSessionDep
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
_WHOSE: Final = (_COLUMNS.organisation_id, _COLUMNS.site_id)
_WHAT: Final = (_COLUMNS.door, _COLUMNS.code, _COLUMNS.purpose)
# The order of rows, in which nothing is null: in the same a page goes on.
_ORDER: Final = (
    _COLUMNS.day,
    *(func.coalesce(cast(each, Text), "") for each in (*_WHOSE, *_WHAT)),
)


class RefusalsOfDay(BaseModel):
    """How much was refused on one day for one reason, and kept nowhere."""

    day: date = Field(description="In UTC")
    organisation_id: UUID | None = Field(description="Null where it is not known whose it was")
    site_id: UUID | None = Field(description="Null where it is not known of which site it was")
    door: RefusalDoor = Field(description="Where it came: by MQTT, by HTTP from boxes, or as a body of REST")
    code: RefusalCode = Field(description="The reason code")
    purpose: PurposeName | None = Field(description="Of what it was, where that is known")
    refused: int = Field(description="How many: messages, samples, events or bodies")


class RefusalsOut(BaseModel):
    """What was refused for its purpose or its content in a range of days."""

    total: int = Field(description="How many in all of the range, on whatever page")
    totals: dict[str, int] = Field(description="The same by reason code")
    data: list[RefusalsOfDay]
    next: str | None = Field(description="Give this as `cursor` for the next page; null on the last one")


class RefusalCountQuery(NamedTuple):
    """Which counts are asked for; None asks nothing. Days from `first`, before `last`."""

    first: date
    last: date
    site_id: UUID | None
    organisation_id: UUID | None
    code: str | None
    door: str | None
    purpose: str | None

    def conditions(self, visible: TenantScope) -> list[ColumnElement[bool]]:
        """The same for a query; what is nobody's is seen by the platform's administrators alone."""
        asked = (
            (_COLUMNS.site_id, self.site_id),
            (_COLUMNS.organisation_id, self.organisation_id),
            (_COLUMNS.code, self.code),
            (_COLUMNS.door, self.door),
            (_COLUMNS.purpose, self.purpose),
        )
        return [
            _COLUMNS.day >= self.first,
            _COLUMNS.day < self.last,
            *(column == value for column, value in asked if value is not None),
            *visible.within(*_WHOSE),
        ]


async def _wanted(  # noqa: PLR0917 (one for each parameter)
    from_: Annotated[
        InstantParameter | None,
        Query(alias="from", description="Days (UTC) from that of this time; 30 days ago without it"),
    ] = None,
    to: Annotated[
        InstantParameter | None, Query(description="Days that begin before this; up to today without it")
    ] = None,
    site: Annotated[Identifier | None, Query(description="Only of this site")] = None,
    organisation: OrganisationFilter = None,
    code: Annotated[RefusalCode | None, Query(description="Only for this reason")] = None,
    door: Annotated[RefusalDoor | None, Query(description="Only at this door")] = None,
    purpose: Annotated[PurposeName | None, Query(description="Only of this purpose")] = None,
) -> RefusalCountQuery:
    now = datetime.now(UTC)
    last = now.date() + timedelta(days=1)
    if to is not None:
        last = (to.astimezone(UTC) + timedelta(days=1, microseconds=-1)).date()
    first = (now - timedelta(days=_DEFAULT_DAYS) if from_ is None else from_.astimezone(UTC)).date()
    if from_ is not None and to is not None and from_ > to:
        raise InvalidError("`from` is after `to`", code="range_reversed")
    return RefusalCountQuery(first, last, site, organisation, code, door, purpose)


@router.get(
    "",
    operation_id="list_refusals",
    summary="What was refused and is kept nowhere",
    responses=document_problems(401, 403),
)
async def list_refusals(
    principal: SitesReader,
    session: ReadSessionDep,
    wanted: Annotated[RefusalCountQuery, Depends(_wanted)],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> RefusalsOut:
    """Count what was refused since its site has no basis for it, or since it must never enter.

    By day, site, door, reason and purpose, in the order of the days. What it was is kept nowhere, so that
    there is nothing to read, to replay or to delete: `GET /v1/quarantine` has what was refused for other
    reasons.
    """
    conditions = wanted.conditions(principal.visible())
    refused = func.sum(_COLUMNS.refused)
    by_code = select(_COLUMNS.code, refused).where(*conditions).group_by(_COLUMNS.code)
    totals = {code: int(number) for code, number in await session.execute(by_code.order_by(_COLUMNS.code))}
    page = select(_COLUMNS.day, *_WHOSE, *_WHAT, refused).where(*conditions)
    if cursor is not None:
        key = decode_cursor(_CURSOR, cursor, date.fromisoformat, *[_plain] * (len(_ORDER) - 1))
        page = page.where(tuple_(*_ORDER) > tuple_(*(literal(part) for part in key)))
    page = page.group_by(_COLUMNS.day, *_WHOSE, *_WHAT).order_by(*_ORDER).limit(limit + 1)
    rows, following = cut_page((await session.execute(page)).all(), limit, _cursor_of)
    names = RefusalsOfDay.model_fields
    return RefusalsOut(
        total=sum(totals.values()),
        totals=totals,
        data=[RefusalsOfDay(**dict(zip(names, row, strict=True))) for row in rows],
        next=following,
    )


def _plain(value: object) -> str:
    """A text of a cursor that a database takes (TypeError, ValueError)."""
    if not isinstance(value, str):
        raise TypeError
    if "\0" in value:
        raise ValueError
    value.encode()
    return value


def _cursor_of(row: Any) -> str:  # noqa: ANN401 (a row of the page)
    return encode_cursor(
        _CURSOR, row[0].isoformat(), *("" if part is None else str(part) for part in row[1:6])
    )
