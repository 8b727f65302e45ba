"""Serves the audit log under `/v1/audit`: entries, the proof of an entry, exports.

Reads of the log are recorded in it, once an hour per actor and log: else it would grow by being read.
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse

from app.audit import audit_log_queries
from app.audit.audit_log_queries import AuditFilter
from app.audit.audit_recorder import AccessedSubject, record_access
from app.audit.hash_chain import ChainHead
from app.audit.log_export import MEDIA_TYPE, format_end_line, format_entry_line
from app.audit.schemas import AuditEntryOut, AuditHeadOut, AuditProofOut
from app.platform.db.database import Database
from app.platform.http.contract.fields import Identifier, InstantParameter, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.fairness.fair_semaphore import ExportLimits, release_at_end
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import ScopedCaller, run_as_caller

router: Final = APIRouter(prefix="/v1/audit", tags=["Audit"])
Reader = Annotated[Principal, Depends(require_scope("audit:read"))]
From = Annotated[InstantParameter | None, Query(alias="from", description="Recorded at or after this")]
To = Annotated[InstantParameter | None, Query(description="Recorded before this")]
# Entries of an export in one chunk. Formatting a chunk blocks the event loop.
_CHUNK_ENTRIES: Final = 200
_LAST_POSITION: Final = 2**63 - 1
_EXAMPLE: Final = (
    '{"organisation_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10", "position": 1, "record": "{…}", '
    '"previous": "0000…", "hash": "9f86…"}\n'
    '{"organisation_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10", "entries": 1, '
    '"head": {"position": 1, "hash": "9f86…"}}\n'
)


def _check_order(first: InstantParameter | None, last: InstantParameter | None) -> None:
    if first is not None and last is not None and first >= last:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")


async def _resolve_log(
    principal: Reader,
    organisation: Annotated[
        Identifier | None,
        Query(description="The organisation of the log, within your tenant scope; by default your own"),
    ] = None,
) -> UUID:
    """Resolve the organisation of the requested log.

    A deleted organisation still has its log, for callers that may access all organisations. An organisation
    outside the tenant scope is reported as not found.
    """
    owner = principal.organisation_id if organisation is None else organisation
    if not principal.visible().includes(owner):
        raise NotFoundError("organisation", owner)
    return owner


LogOwner = Annotated[UUID, Depends(_resolve_log)]


_LimitsDep = Annotated[ExportLimits, Depends(make_resource_dependency(ExportLimits))]


async def _reserve_export(principal: Reader, limits: _LimitsDep) -> AsyncIterator[Callable[[], None]]:
    with limits.reserve_export(principal.organisation_id) as release:
        yield release


@router.get("", summary="List audit entries", responses=document_problems(403))
async def list_audit_entries(
    *,
    principal: Reader,
    session: WriteSessionDep,
    organisation: Annotated[Identifier | None, Query(description="Only of this organisation")] = None,
    actor: Annotated[Name | None, Query(description="Only by the actor with this id")] = None,
    action: Annotated[
        str | None,
        Query(
            pattern=r"^[a-z_]+(\.[a-z_]+)*$",
            max_length=100,
            description="Only this action, or actions with this prefix: `site.updated`, `site`",
        ),
    ] = None,
    subject: Annotated[Name | None, Query(description="Only of the resource with this id")] = None,
    subject_kind: Annotated[
        str | None, Query(pattern="^[a-z_]+$", max_length=100, description="Only of resources of this kind")
    ] = None,
    from_: From = None,
    to: To = None,
    query: Annotated[PageRequest, Depends(audit_log_queries.AUDIT.page_request)],
) -> Page[AuditEntryOut]:
    """List who did what, and who read personal data, by default the newest first.

    The list has the entries of your organisation, and of others in your tenant scope. Reading it is recorded
    in each of these logs, once an hour.
    """
    _check_order(from_, to)
    filter_ = AuditFilter(organisation, actor, action, subject, subject_kind, from_, to)
    rows = await audit_log_queries.list_entries(session, principal.visible(), filter_, query)
    page, following = audit_log_queries.AUDIT.cut(rows, query)
    owners = dict.fromkeys(row.organisation_id for row in page)
    await record_access(session, "audit", [AccessedSubject(each, None) for each in owners], once="entries")
    return Page(data=[AuditEntryOut.of(row) for row in page], next=following)


@router.get("/head", summary="Read the head of a log", responses=document_problems(403, 404))
async def get_audit_head(principal: Reader, session: ReadSessionDep, organisation: LogOwner) -> AuditHeadOut:
    """Read the position and hash of the last entry.

    Save them outside Vigie: with them you can prove later that the log was not rewritten.
    """
    return AuditHeadOut.of(await audit_log_queries.find_head(session, principal.visible(), organisation))


@router.get(
    "/export",
    summary="Export a log",
    response_class=StreamingResponse,
    responses={
        **document_problems(403, 404),
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}}},
    },
)
async def export_audit(
    principal: Reader,
    database: DatabaseDependency,
    organisation: LogOwner,
    limits: _LimitsDep,
    release: Annotated[Callable[[], None], Depends(_reserve_export)],
    *,
    from_: From = None,
    to: To = None,
) -> StreamingResponse:
    """Export the log of one organisation as NDJSON, the oldest entry first.

    The file has a line for each entry, and an end line; without the end line it is incomplete. Verify it with
    `vigie audit verify --export FILE`, or with your own program. An organisation can run one export at a
    time: a second one is refused with 429 `too_many_exports`.
    """
    _check_order(from_, to)
    filter_ = AuditFilter(organisation, first=from_, last=to)
    async with database.write() as session:
        range_ = {"from": from_ and from_.isoformat(), "to": to and to.isoformat()}
        await record_access(
            session, "audit", [AccessedSubject(organisation, None)], details=range_, once="export"
        )
    async with database.read() as reader:
        head = await audit_log_queries.find_head(reader, principal.visible(), organisation)
    lines = _lines(database, limits, principal.caller(), head, filter_)
    name = f"vigie-audit-{organisation}.ndjson"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(release_at_end(lines, release), media_type=MEDIA_TYPE, headers=headers)


async def _lines(
    database: Database, limits: ExportLimits, caller: ScopedCaller, head: ChainHead, filter_: AuditFilter
) -> AsyncIterator[str]:
    """Yield the file in chunks. Between chunks a slow client holds neither a transaction nor a semaphore."""
    after = entries = 0
    more = head.position > 0
    while more:
        async with limits.read_slice(caller.tree or head.organisation_id):
            with run_as_caller(caller):
                async with database.read() as session:
                    found = await audit_log_queries.read_next_entries(
                        session, head, filter_, after, _CHUNK_ENTRIES
                    )
            text = "".join(map(format_entry_line, found))
        more = len(found) == _CHUNK_ENTRIES
        if not found:
            break
        yield text
        entries += len(found)
        after = found[-1].position
    yield format_end_line(head, entries)


@router.get("/{position}", summary="Read an audit entry with its proof", responses=document_problems(403))
async def get_audit_entry(
    position: Annotated[int, Path(ge=1, le=_LAST_POSITION)],
    principal: Reader,
    session: WriteSessionDep,
    organisation: LogOwner,
) -> AuditProofOut:
    """Read one entry, with the exact text that was hashed."""
    row = await audit_log_queries.find_entry(session, principal.visible(), organisation, position)
    if row is None:
        raise NotFoundError("audit entry", position)
    subjects = [AccessedSubject(organisation, None)]
    await record_access(session, "audit", subjects, details={"position": position}, once="entry")
    return AuditProofOut.of(row)
