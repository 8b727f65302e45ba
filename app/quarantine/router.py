"""Lists, counts and deletes quarantined messages over REST. `app.ingest` replays them."""

from datetime import date, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import InstantParameter, Name
from app.platform.http.contract.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut_page, encode_cursor
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.observability.metrics_and_logs import get_logger
from app.quarantine import queries
from app.quarantine.models import QuarantineEntry
from app.quarantine.queries import QUARANTINE, QuarantineFilter, decode_payload
from app.registry.dependencies import OrganisationFilter
from app.timeseries.series.box_events_router import check_event_range

type Door = Literal["mqtt", "http"]


class QuarantineOut(ResourceModel):
    """A refused message and the reason."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019abcde-0123-7000-8000-0123456789ab",
                    "received_at": "2026-11-24T10:00:00.5Z",
                    "box": "box-0001",
                    "door": "mqtt",
                    "code": "unknown_metric",
                    "detail": "'warp' is not a metric of the catalogue",
                    "topic": "vigie/v1/box-0001/telemetry",
                    "payload": '{"time": "2026-11-24T10:00:00Z", "values": {"warp": 1}}',
                    "payload_encoding": "utf-8",
                    "payload_bytes": 55,
                    "payload_cut": False,
                    "attempts": 0,
                    "attempted_at": None,
                    "replayed_at": None,
                    "outcome": None,
                }
            ]
        }
    )

    id: UUID
    received_at: datetime
    box: str | None
    door: Door
    code: str = Field(description="Rejection code of the last refusal", examples=["unknown_metric"])
    detail: str
    topic: str | None
    payload: str = Field(description="The received message: its beginning in lists, otherwise up to 64 KiB")
    payload_encoding: Literal["utf-8", "base64"] = Field(description="`base64` if the message is not text")
    payload_bytes: int = Field(description="Size of the received message")
    payload_cut: bool = Field(
        description="Whether the stored message is truncated. Then it cannot be replayed"
    )
    attempts: int = Field(description="Number of replays")
    attempted_at: datetime | None = Field(description="Time of the last replay")
    replayed_at: datetime | None = Field(
        description="When a replay accepted all of it; null while it is refused"
    )
    outcome: dict[str, int] | None = Field(description="Counts of the last replay, by outcome")


class QuarantineCount(BaseModel):
    """The number of refused messages in a group."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "unknown_box", "door": "mqtt", "count": 9, "replayed": 4}]}
    )

    code: str = Field("", description="Rejection code; given, like `door`, if you group by code")
    door: Door | None = None
    box: str | None = Field(None, description="Claimed box id; null if it could not be read")
    day: date | None = Field(None, description="Day of arrival, in UTC")
    count: int = Field(description="Number of entries")
    replayed: int = Field(description="How many of them a replay has accepted")


class QuarantineCounts(BaseModel):
    """A page of counts. Each row has only the fields that it is grouped by."""

    data: list[QuarantineCount]
    next: str | None = Field(
        None, description="Pass this as `cursor` for the next page; null on the last page"
    )


_log = get_logger(__name__)
router: Final = APIRouter(prefix="/v1/quarantine", tags=["Quarantine"], route_class=StrictRoute)
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]
Writer = Annotated[Principal, Depends(require_scope("telemetry:write"))]
CODE: Final = "^[a-z0-9_]{1,64}$"
_COPIED_FIELDS: Final = (
    *("id", "received_at", "box", "door", "code", "detail", "topic", "payload_bytes"),
    *("attempts", "attempted_at", "replayed_at", "outcome"),
)


async def _filter(
    principal: Reader,
    *,
    box: Annotated[Name | None, Query(description="Only messages that claim this box id")] = None,
    code: Annotated[str | None, Query(pattern=CODE, description="Only this rejection code")] = None,
    door: Annotated[
        Literal["mqtt", "http"] | None, Query(description="Only messages received by MQTT or by HTTP")
    ] = None,
    from_: Annotated[
        InstantParameter | None, Query(alias="from", description="Received at or after this")
    ] = None,
    to: Annotated[InstantParameter | None, Query(description="Received before this")] = None,
    replayed: Annotated[
        bool | None, Query(description="Only entries that a replay has accepted (true) or has not (false)")
    ] = None,
    organisation: OrganisationFilter = None,
) -> QuarantineFilter:
    check_event_range(from_, to)
    return QuarantineFilter(principal.visible(), box, code, door, from_, to, replayed, organisation)


FilterDep = Annotated[QuarantineFilter, Depends(_filter)]


def _out(row: QuarantineEntry, beginning: bytes, stored_bytes: int) -> QuarantineOut:
    payload, encoding = decode_payload(beginning, whole=len(beginning) == row.payload_bytes)
    return QuarantineOut(
        **{name: getattr(row, name) for name in _COPIED_FIELDS},
        payload=payload,
        payload_encoding=encoding,
        payload_cut=stored_bytes < row.payload_bytes,
    )


@router.get("", summary="List refused messages")
async def list_quarantine(
    filters: FilterDep,
    session: ReadSessionDep,
    page_request: Annotated[PageRequest, Depends(QUARANTINE.page_request)],
) -> Page[QuarantineOut]:
    """List refused messages with the first 2 KiB of each, by default the newest first.

    Only administrators of the platform see messages that belong to no organisation's box.
    """
    rows = await queries.list_quarantine_entries(session, filters, page_request)
    page, following = QUARANTINE.cut(rows, page_request)
    return Page(
        data=[_out(entry, beginning, stored_bytes) for entry, beginning, stored_bytes in page], next=following
    )


@router.get("/counts", summary="Count refused messages", response_model_exclude_unset=True)
async def count_quarantine(
    filters: FilterDep,
    session: ReadSessionDep,
    group_by: Annotated[
        Literal["code", "box", "day"],
        Query(description="By rejection code and `door`, by box, or by day of arrival (UTC)"),
    ] = "code",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> QuarantineCounts:
    """Count refused messages by code, box or day. Codes and boxes: highest count first. Days: newest first.

    Counts may change between two pages. A group may then appear on both pages, or on neither.
    """
    if group_by == "day":
        rows = await queries.count_by_day(session, filters, cursor, limit)
    else:
        rows = await queries.count_by_code_or_box(session, filters, group_by, cursor, limit)
    page, following = cut_page(
        rows, limit, lambda row: encode_cursor(f"quarantine_{group_by}", *row.sort_key)
    )
    return QuarantineCounts(
        data=[QuarantineCount(**row.of, count=row.count, replayed=row.replayed) for row in page],
        next=following,
    )


@router.get("/{entry_id}", summary="Read a refused message")
async def get_quarantine_entry(entry_id: str, principal: Reader, session: ReadSessionDep) -> QuarantineOut:
    """Read an entry with all of the stored message (up to 64 KiB)."""
    identifier = parse_id(entry_id, "quarantine entry")
    row = await queries.find_quarantine_entry(session, identifier, principal.visible())
    if row is None:
        raise NotFoundError("quarantine entry", entry_id)
    return _out(row, row.payload, len(row.payload))


@router.delete("/{entry_id}", summary="Delete a refused message", status_code=204)
async def delete_quarantine_entry(entry_id: str, principal: Writer, session: WriteSessionDep) -> None:
    """Delete an entry and its message for good. The log records the deletion and the API key."""
    identifier = parse_id(entry_id, "quarantine entry")
    entry = QuarantineEntry
    statement = delete(entry).where(
        entry.id == identifier, *QuarantineFilter(principal.visible()).conditions()
    )
    deleted = (await session.execute(statement.returning(entry.code, entry.replayed_at))).one_or_none()
    if deleted is None:
        raise NotFoundError("quarantine entry", entry_id)
    _log.info(
        "quarantine_entry_deleted",
        entry=str(identifier),
        code=deleted.code,
        replayed=deleted.replayed_at is not None,
        key_id=str(principal.key_id),
    )
