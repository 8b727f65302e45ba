"""Serves exports over REST: checks requests before the first byte, and records each export.

No database session stays open for the duration of a file. If an export fails, the connection is closed before
the end of the body, so that the client can detect it.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, Field

from app.audit.audit_recorder import AccessedSubject, record_access
from app.platform.db.database import Database
from app.platform.http.contract.pagination import CURSOR_LIMIT, Cursor, Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    SessionReadsDependency,
)
from app.platform.http.fairness.fair_semaphore import ExportLimits, release_at_end
from app.platform.identity.caller_authentication import (
    CallerAuthenticator,
    Principal,
    bearer,
    require_scope,
)
from app.platform.identity.grant_access import open_to_grants
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError, InvalidError, MalformedRequestError
from app.platform.kernel.tenant_scope import ScopedCaller
from app.timeseries.exports.columnar_format import (
    COLUMNAR_MEDIA_TYPES,
    ColumnarEncoderPool,
    ColumnarFormat,
    stream_columnar_file,
)
from app.timeseries.exports.export_parameters import (
    ExportQuery,
    format_row_time,
    parse_export_query,
    resolve_start_position,
)
from app.timeseries.exports.export_selection import RowPosition, find_selected_organisations
from app.timeseries.exports.portal_formats import PORTAL_FORMATS, PortalFormat
from app.timeseries.exports.row_slice_reader import ExportReader, RowExport, read_ahead
from app.timeseries.exports.sample_part_planner import ROWS_MOST, PartReference, SamplePartPlanner
from app.timeseries.exports.text_formats import TEXT_FORMATS, TextFormat
from app.timeseries.exports.time_bucket_export import BucketExport, BucketPartPlanner


class ExportPart(BaseModel):
    """A part of an export: a separate file, available at `href`."""

    number: int = Field(description="Number of the part, from 1 on", examples=[1])
    from_: datetime = Field(serialization_alias="from", description="Start of the whole export, inclusive")
    to: datetime = Field(description="End of the whole export, exclusive")
    first_box: str = Field(description="Box of the first row", examples=["pont-neuf-1"])
    last_box: str = Field(description="Box of the last row", examples=["pont-neuf-2"])
    rows: int = Field(description="Number of rows now; late samples may add more", examples=[1_000_000])
    href: str = Field(
        description="Path of the part, with all parameters",
        examples=["/v1/readings/export?format=parquet&from=2026-01-01T00:00:00Z&to=…&metric=pm2_5&part=…"],
    )


router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Format = Literal["csv", "ndjson", "geojson", "parquet", "arrow", "openaq", "eea"]

_READ_SCOPE: Final = require_scope("telemetry:read")
_Reader = Annotated[Principal, Depends(_READ_SCOPE)]
_QueryDep = Annotated[ExportQuery, Depends(parse_export_query)]
_PARTS_MOST: Final = 100
# The slices in memory that wait: of text, which is sent at once, and of columns, while their process starts
# or encodes a row group. A slice has one to three megabytes.
_SLICES_AHEAD: Final = (1, 3)
# A revoked key can continue an export for this long at most.
_REFRESH_S: Final = 60.0
_GRANT_REFRESH_S: Final = 1.0
_EXAMPLES: Final = {
    "csv": "box,site,time,pm2_5,laeq\r\n"
    "box-0001,01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d,2026-11-24T10:00:00Z,12.4,58.3\r\n",
    "ndjson": '{"box":"box-0001","site":"01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d",'
    '"time":"2026-11-24T10:00:00Z","values":{"pm2_5":12.4,"laeq":58.3}}\n',
    "geojson": '{"type":"FeatureCollection","features":[\n{"type":"Feature","geometry":{"type":"Point",'
    '"coordinates":[1.4453,43.6045]},"properties":{"box":"box-0001","site":"01936f3d-0c2f-7a3b-9c4d-'
    '5e6f7a8b9c0d","time":"2026-11-24T10:00:00Z","pm2_5":12.4,"laeq":58.3}}\n]}\n',
}
# Examples with `bucket=1h&aggregates=avg,max`.
_BUCKETS: Final = {
    "csv": "box,site,time,pm2_5_avg,pm2_5_max\r\n"
    "box-0001,01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d,2026-11-24T10:00:00Z,11.83518,19.4\r\n",
    "ndjson": '{"box":"box-0001","site":"01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d",'
    '"time":"2026-11-24T10:00:00Z","values":{"pm2_5_avg":11.83518,"pm2_5_max":19.4}}\n',
    "geojson": '{"type":"FeatureCollection","features":[\n{"type":"Feature","geometry":{"type":"Point",'
    '"coordinates":[1.4453,43.6045]},"properties":{"box":"box-0001","site":"01936f3d-0c2f-7a3b-9c4d-'
    '5e6f7a8b9c0d","time":"2026-11-24T10:00:00Z","pm2_5_avg":11.83518,"pm2_5_max":19.4}}\n]}\n',
}
_PORTALS: Final = {
    "openaq": {
        "summary": "format=openaq",
        "value": "location_id,sensors_id,location,datetime,lat,lon,parameter,units,value\r\n162781739764022,"
        "162781739764022002,box-0001,2026-11-24T10:00:00+00:00,43.6045,1.4453,pm25,µg/m³,12.4\r\n",
    },
    "eea": {
        "summary": "format=eea",
        "value": "Samplingpoint,Pollutant,Start,End,Value,Unit,AggType,Validity,Verification,ResultTime,"
        "DataCapture,FkObservationLog\r\nSPO_box-0001_6001,6001,2026-11-24 11:00:00,2026-11-24 12:00:00,"
        "11.83518,ug.m-3,hour,1,3,,98.3,\r\n",
    },
}
_CONTENT: Final[dict[str, Any]] = {
    TEXT_FORMATS[name].media_type.partition(";")[0]: {
        "schema": {"type": "string"},
        "examples": {
            "samples": {"summary": "As they were measured", "value": example},
            "buckets": {"summary": "bucket=1h&aggregates=avg,max", "value": _BUCKETS[name]},
            **(_PORTALS if name == "csv" else {}),
        },
    }
    for name, example in _EXAMPLES.items()
} | {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for media_type in COLUMNAR_MEDIA_TYPES.values()
}


class _CallerRefresher:
    """Returns the caller of a long export, and checks its key again now and then.

    The export of a grant's recipient ends when the grant ends or changes.
    """

    def __init__(self, request: Request, key: str, principal: Principal) -> None:
        self._authenticator = get_resource(request.app, CallerAuthenticator)
        self._key = key
        self._scope = principal.tenant_scope
        self._refresh_s = _REFRESH_S if self._scope.grant is None else _GRANT_REFRESH_S
        self._caller = principal.caller()
        self._refresh_at = time.monotonic() + self._refresh_s

    async def __call__(self) -> ScopedCaller:
        """Return the caller.

        Raises:
            UnauthorisedError, ForbiddenError: Its key was revoked or lost the scope; `grant_changed`.
        """
        if time.monotonic() >= self._refresh_at:
            principal = await self._authenticator.authenticate(self._key, datetime.now(UTC))
            _READ_SCOPE.check(principal)
            if self._scope.grant is not None and principal.tenant_scope != self._scope:
                raise ForbiddenError("The grant has changed. Start the export again.", code="grant_changed")
            self._caller = principal.caller()
            self._refresh_at = time.monotonic() + self._refresh_s
        return self._caller


async def _make_reader(
    request: Request,
    principal: _Reader,
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    reads: SessionReadsDependency,
) -> ExportReader:
    caller = _CallerRefresher(request, credentials.credentials, principal)
    return ExportReader(reads, get_resource(request.app, ExportLimits), caller, principal.tree)


_ExportReaderDep = Annotated[ExportReader, Depends(_make_reader)]


class _ExportSlot(NamedTuple):
    """The resources of an export, held until the last byte or until the client disconnects.

    Attributes:
        resources: closed after the response.
        release: releases the organisation's reservation.
        encoders: start the process of a columnar file.
    """

    resources: AsyncExitStack
    release: Callable[[], None]
    encoders: ColumnarEncoderPool


async def _acquire_slot(
    request: Request, principal: _Reader, reader: _ExportReaderDep
) -> AsyncIterator[_ExportSlot]:
    if request.scope["http_version"] == "1.0":
        raise MalformedRequestError(
            "Exports need HTTP/1.1, because in HTTP/1.0 a truncated file looks complete. Behind nginx, set "
            "`proxy_http_version 1.1`.",
            code="http_version_too_old",
        )
    grant = principal.tenant_scope.grant
    # A third party must not take the place of the organisation's own export.
    owner = principal.organisation_id if grant is None else grant.grant_id
    with reader.limits.reserve_export(owner, "readings") as release:
        async with AsyncExitStack() as resources:
            yield _ExportSlot(resources, release, get_resource(request.app, ColumnarEncoderPool))


@router.get(
    "/readings/export",
    summary="Export readings as a file",
    response_class=StreamingResponse,
    responses={
        **document_problems(400, 403, 404),
        200: {"description": "The file, streamed", "content": _CONTENT},
    },
)
@open_to_grants("export")
async def export_readings(
    *,
    principal: _Reader,
    query: _QueryDep,
    database: DatabaseDependency,
    reader: _ExportReaderDep,
    slot: Annotated[_ExportSlot, Depends(_acquire_slot)],
    format_: Annotated[Format, Query(alias="format", description="File format")] = "csv",
    after: Annotated[
        str | None,
        Query(
            max_length=128,
            description="Resume an interrupted file after this row: its box, a comma, and its time as in the "
            "file. Needs `from`, `to` and `metric`; for CSV, NDJSON and GeoJSON",
            examples=["box-0001,2026-11-24T10:00:00Z"],
        ),
    ] = None,
    part: Annotated[
        str | None,
        Query(max_length=CURSOR_LIMIT, description="Part token from `GET /v1/readings/export/parts`"),
    ] = None,
) -> StreamingResponse:
    """Export raw samples or buckets of many boxes, one row each, ordered by box id and time.

    Columns are `box`, `site`, `time` and one per metric, in the units of `GET /v1/metrics`. With `bucket`,
    there is a row for each bucket that has a value, with the values of `GET /v1/boxes/{box}/readings`, and a
    column for each metric and aggregate (`pm2_5_avg`).

    `site` and `box` both filter. To resume an interrupted file, request the URL in `Content-Location` with
    `after`. A failed export closes the connection before the end of the body, so that a truncated file never
    looks complete. Only CSV, NDJSON and GeoJSON can be resumed: download others in parts. An organisation can
    run one export at a time; others are refused with 429 `too_many_exports`. The audit log records each
    export.
    """
    resume_after = None if after is None else RowPosition.read(after)
    part_reference = PartReference(0, None, None) if part is None else PartReference.read(part)
    if after is not None or part is not None:
        query.check_explicit()
    if after is not None and format_ not in TEXT_FORMATS:
        raise InvalidError(
            f"A file of the format {format_} cannot be resumed. Download it in parts (GET "
            "/v1/readings/export/parts).",
            code="after_not_taken",
        )
    query = _adapt_query(query, format_)
    async with database.read() as session:
        start = resolve_start_position(resume_after, part_reference.start)
        export = await query.export(session, principal.visible(), start, part_reference.until)
    address = query.address(export, format=format_, **({} if part is None else {"part": part}))
    text: TextFormat | PortalFormat | None = TEXT_FORMATS.get(format_) or PORTAL_FORMATS.get(format_)
    if text is None:
        encoder = await slot.resources.enter_async_context(slot.encoders.start_encoder(format_))
    slices = export.slices(reader, text.row_format if text else ColumnarFormat())
    # PostgreSQL reads on while a slice is sent or encoded.
    ahead = await slot.resources.enter_async_context(read_ahead(slices, _SLICES_AHEAD[text is None]))
    if text is None:
        media_type = COLUMNAR_MEDIA_TYPES[format_]
        chunks = stream_columnar_file(ahead, export.columns, encoder)
    else:
        media_type = text.media_type
        chunks = text.chunks(ahead, export.columns, resumed=after is not None)
    # An error before the first chunk still gives an error response.
    head = await anext(chunks)
    details = {
        "format": format_,
        "after": after,
        "part": part_reference.number or None,
        **dict(query.bucket_parameters()),
    }
    await _record(database, export, details)
    headers = {
        "Content-Disposition": f'attachment; filename="{_file_name(query, part_reference.number, format_)}"',
        "Content-Location": address,
        "Cache-Control": "no-store",
    }
    body = release_at_end(_prepend(head, chunks), slot.release)
    return StreamingResponse(body, media_type=media_type, headers=headers)


def _adapt_query(query: ExportQuery, format_: Format) -> ExportQuery:
    """Return the query of the rows that a format needs (InvalidError: of `PortalFormat.adapt_query`)."""
    portal = PORTAL_FORMATS.get(format_)
    return query if portal is None else portal.adapt_query(query)


async def _prepend(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk


async def _record(database: Database, export: RowExport, details: dict[str, Any]) -> None:
    """Record the export in the audit logs of the boxes' organisations, before the first byte."""
    selection, span = export.selection, export.span
    record = {
        "from": format_row_time(span.first),
        "to": format_row_time(span.last),
        "sites": [str(site) for site in selection.sites],
        "boxes": list(selection.boxes),
        **details,
    }
    async with database.write() as session:
        organisations = await find_selected_organisations(session, selection)
        await record_access(
            session, "readings", [AccessedSubject(each, None) for each in organisations], details=record
        )


def _file_name(query: ExportQuery, number: int, format_: str) -> str:
    """Return the file name for browsers."""
    span = "-".join(f"{moment:%Y%m%dT%H%M%SZ}" for moment in (query.first, query.last))
    part = f"-part-{number:04}" if number else ""
    bucket = f"-{query.bucketing.bucket.text}" if query.bucketing else ""
    # The usual extension of Arrow's streaming format, and CSV for portals.
    extension = {"arrow": "arrows", **{name: f"{name}.csv" for name in PORTAL_FORMATS}}.get(format_, format_)
    return f"vigie-readings-{span}{bucket}{part}.{extension}"


@router.get(
    "/readings/export/parts",
    summary="List the parts of an export",
    responses=document_problems(403, 404),
)
async def list_export_parts(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    query: _QueryDep,
    reader: _ExportReaderDep,
    format_: Annotated[Format, Query(alias="format", description="File format of the parts")] = "parquet",
    rows_per_part: Annotated[
        int, Query(ge=1_000, le=ROWS_MOST, description="The most rows of a part")
    ] = ROWS_MOST,
    limit: Annotated[int, Query(ge=1, le=_PARTS_MOST, description="Parts per page")] = _PARTS_MOST,
    cursor: Cursor = None,
) -> Page[ExportPart]:
    """Divide an export into parts, in the order of the rows. Each part is a separate file.

    A page has fewer parts than `limit` if counting takes long: continue until `next` is null. Repeat the
    parameters of the first page with `cursor`, and always give `from` and `to`.
    """
    query = _adapt_query(query, format_)
    first_part = PartReference(1, None, None) if cursor is None else PartReference.read(cursor)
    export = await query.export(session, principal.visible(), first_part.start, None)
    # Counting opens its own transactions.
    await session.close()
    parts: SamplePartPlanner | BucketPartPlanner
    if isinstance(export, BucketExport):
        parts = BucketPartPlanner(export, rows=rows_per_part, number=first_part.number)
    else:
        parts = SamplePartPlanner(export, rows=rows_per_part, number=first_part.number)
    found, following = await parts.list_parts(reader, most=limit)
    return Page(
        data=[
            ExportPart(
                number=part.number,
                from_=query.first,
                to=query.last,
                first_box=part.first_box,
                last_box=part.until.box,
                rows=part.rows,
                href=query.address(
                    export, format=format_, part=PartReference(part.number, part.start, part.until).token()
                ),
            )
            for part in found
        ],
        next=following,
    )
