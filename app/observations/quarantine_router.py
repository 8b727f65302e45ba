"""REST for the quarantine: what was refused at either door, and why."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query

from app.core.auth import Principal, requires
from app.core.errors import NotFoundError
from app.core.fields import InstantParameter, Name
from app.core.ids import parse_id
from app.core.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut, encode_cursor
from app.core.problems import documented
from app.core.web import Reads
from app.observations import quarantine_reads
from app.observations.events_router import check_order
from app.observations.models import QuarantineEntry
from app.observations.quarantine_reads import QUARANTINE, Filter, readable
from app.observations.schemas import QuarantineCount, QuarantineCounts, QuarantineOut

router: Final = APIRouter(prefix="/v1/quarantine", tags=["Quarantine"])
Reader = Annotated[Principal, Depends(requires("telemetry:read"))]


def _filter(
    principal: Reader,
    *,
    box: Annotated[Name | None, Query(description="Only of what claimed to be this box")] = None,
    code: Annotated[
        str | None, Query(pattern="^[a-z0-9_]{1,64}$", description="Only for this reason code")
    ] = None,
    door: Annotated[Literal["mqtt", "http"] | None, Query(description="Only at this door")] = None,
    from_: Annotated[
        InstantParameter | None, Query(alias="from", description="Came at or after this")
    ] = None,
    to: Annotated[InstantParameter | None, Query(description="Came before this")] = None,
) -> Filter:
    check_order(from_, to)
    return Filter(principal.visible(), box, code, door, from_, to)


Wanted = Annotated[Filter, Depends(_filter)]


def _out(row: QuarantineEntry, kept: bytes) -> QuarantineOut:
    payload, encoding = readable(kept, whole=len(kept) == row.payload_bytes)
    plain = ("id", "received_at", "box", "door", "code", "detail", "topic", "payload_bytes")
    return QuarantineOut(
        **{name: getattr(row, name) for name in plain}, payload=payload, payload_encoding=encoding
    )


@router.get(
    "", operation_id="list_quarantine", summary="What was refused", responses=documented(401, 403, 422)
)
async def list_quarantine(
    wanted: Wanted, session: Reads, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[QuarantineOut]:
    """What was refused, the newest first, with the beginning of what came (2 KiB).

    What could not be said to be of any organisation's box is for the platform's administrators.
    """
    rows = await quarantine_reads.list_entries(session, wanted, cursor, limit)
    page, following = cut(rows, limit, lambda row: encode_cursor(QUARANTINE, str(row[0].id)))
    return Page(data=[_out(entry, kept) for entry, kept in page], next=following)


@router.get(
    "/counts",
    operation_id="count_quarantine",
    summary="How much was refused, by reason",
    responses=documented(401, 403, 422),
)
async def count_quarantine(wanted: Wanted, session: Reads) -> QuarantineCounts:
    """How much was refused, by reason code and door, the most first."""
    rows = await quarantine_reads.count_entries(session, wanted)
    return QuarantineCounts(data=[QuarantineCount(code=code, door=door, count=n) for code, door, n in rows])


@router.get(
    "/{entry_id}",
    operation_id="get_quarantine_entry",
    summary="One thing that was refused",
    responses=documented(401, 403, 404),
)
async def get_quarantine_entry(entry_id: str, principal: Reader, session: Reads) -> QuarantineOut:
    """One entry, with all that is kept of what came (64 KiB)."""
    identifier = parse_id(entry_id, "quarantine entry")
    row = await quarantine_reads.find_entry(session, identifier, principal.visible())
    if row is None:
        raise NotFoundError("quarantine entry", entry_id)
    return _out(row, row.payload)
