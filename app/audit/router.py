"""REST for the audit log: read, a proof of each entry, and all of it as a file.

Who reads it is recorded in it: once an hour for each log, or it would grow by being read.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse

from app.audit import repository
from app.audit.audit_recorder import AccessedSubject, record_access
from app.audit.hash_chain import ChainHead
from app.audit.log_export import MEDIA_TYPE, format_end_line, format_entry_line
from app.audit.repository import AuditFilter
from app.audit.schemas import AuditEntryOut, AuditHeadOut, AuditProofOut
from app.platform.db.database import Database
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep, get_database
from app.platform.http.contract.fields import Identifier, InstantParameter, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import ScopedCaller, run_as_caller

router: Final = APIRouter(prefix="/v1/audit", tags=["Audit"])
Reader = Annotated[Principal, Depends(require_scope("audit:read"))]
From = Annotated[InstantParameter | None, Query(alias="from", description="Recorded at or after this")]
To = Annotated[InstantParameter | None, Query(description="Recorded before this")]
# Entries of an export that are read at once: for as long nobody else is answered.
_AT_ONCE: Final = 200
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


async def _named(
    principal: Reader,
    organisation: Annotated[
        Identifier | None, Query(description="Whose log, of those that you reach; yours by default")
    ] = None,
) -> UUID:
    """The organisation whose log is meant.

    One that was deleted still has its log, for those who reach every organisation. To others what they do not
    reach looks as if it did not exist.
    """
    wanted = principal.organisation_id if organisation is None else organisation
    if not principal.visible().includes(wanted):
        raise NotFoundError("organisation", wanted)
    return wanted


Named = Annotated[UUID, Depends(_named)]


async def _exporting(request: Request, principal: Reader) -> AsyncIterator[ExportLimits]:
    """The place of the caller's export: until the last byte, or until the client has gone."""
    turns: ExportLimits = request.app.state.export_turns
    with turns.reserve_export(principal.organisation_id):
        yield turns


@router.get(
    "",
    operation_id="list_audit_entries",
    summary="Who did what, and who saw whose data",
    responses=document_problems(401, 403, 422, 503),
)
async def list_audit_entries(
    *,
    principal: Reader,
    session: WriteSessionDep,
    organisation: Annotated[Identifier | None, Query(description="Only of this organisation")] = None,
    actor: Annotated[Name | None, Query(description="Only by whom or what has this id")] = None,
    action: Annotated[
        str | None,
        Query(
            pattern=r"^[a-z_]+(\.[a-z_]+)*$",
            max_length=100,
            description="Only this action, or those that begin with it: `site`, `site.updated`",
        ),
    ] = None,
    subject: Annotated[Name | None, Query(description="Only what was done to the thing with this id")] = None,
    subject_kind: Annotated[
        str | None, Query(pattern="^[a-z_]+$", max_length=100, description="Only to things of this kind")
    ] = None,
    from_: From = None,
    to: To = None,
    asked: Annotated[PageRequest, Depends(repository.AUDIT.page_request)],
) -> Page[AuditEntryOut]:
    """By default the newest first: of your organisation, and of others that you reach.

    Who reads entries is recorded too, in the logs that they are of: once an hour.
    """
    _check_order(from_, to)
    wanted = AuditFilter(organisation, actor, action, subject, subject_kind, from_, to)
    rows = await repository.list_entries(session, principal.visible(), wanted, asked)
    page, following = repository.AUDIT.cut(rows, asked)
    whose = dict.fromkeys(row.organisation_id for row in page)
    await record_access(session, "audit", [AccessedSubject(each, None) for each in whose], once="entries")
    return Page(data=[AuditEntryOut.of(row) for row in page], next=following)


@router.get(
    "/head",
    operation_id="get_audit_head",
    summary="Where a log has come to",
    responses=document_problems(401, 403, 404, 422),
)
async def get_audit_head(principal: Reader, session: ReadSessionDep, organisation: Named) -> AuditHeadOut:
    """The last entry's position and hash. Keep them somewhere else: they show a log that was rewritten."""
    return AuditHeadOut.of(await repository.find_head(session, principal.visible(), organisation))


@router.get(
    "/export",
    operation_id="export_audit",
    summary="A log as a file that can be verified",
    response_class=StreamingResponse,
    responses={
        **document_problems(401, 403, 404, 422, 429, 503),
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}}},
    },
)
async def export_audit(
    principal: Reader,
    database: Annotated[Database, Depends(get_database)],
    organisation: Named,
    turns: Annotated[ExportLimits, Depends(_exporting)],
    *,
    from_: From = None,
    to: To = None,
) -> StreamingResponse:
    """One organisation's log, the oldest entry first, as NDJSON: a line for each entry, and one at the end.

    `vigie audit verify --export FILE` verifies it, and so can a program of yours. A file without its last
    line was cut short. One at a time for an organisation: others are 429 `too_many_exports`.
    """
    _check_order(from_, to)
    wanted = AuditFilter(organisation, first=from_, last=to)
    async with database.write() as session:
        range_ = {"from": from_ and from_.isoformat(), "to": to and to.isoformat()}
        await record_access(
            session, "audit", [AccessedSubject(organisation, None)], details=range_, once="export"
        )
    async with database.read() as reader:
        head = await repository.find_head(reader, principal.visible(), organisation)
    lines = _lines(database, turns, principal.caller(), head, wanted)
    name = f"vigie-audit-{organisation}.ndjson"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type=MEDIA_TYPE, headers=headers)


async def _lines(
    database: Database, turns: ExportLimits, caller: ScopedCaller, head: ChainHead, wanted: AuditFilter
) -> AsyncIterator[str]:
    """The file, a piece at a time: a client that reads slowly holds no transaction open, and no turn."""
    after = entries = 0
    more = head.position > 0
    while more:
        async with turns.read_slice(caller.tree or head.organisation_id):
            with run_as_caller(caller):
                async with database.read() as session:
                    found = await repository.read_next_entries(session, head, wanted, after, _AT_ONCE)
            text = "".join(map(format_entry_line, found))
        more = len(found) == _AT_ONCE
        if not found:
            break
        yield text
        entries += len(found)
        after = found[-1].position
    yield format_end_line(head, entries)


@router.get(
    "/{position}",
    operation_id="get_audit_entry",
    summary="An entry with its proof",
    responses=document_problems(401, 403, 404, 422, 503),
)
async def get_audit_entry(
    position: Annotated[int, Path(ge=1, le=_LAST_POSITION)],
    principal: Reader,
    session: WriteSessionDep,
    organisation: Named,
) -> AuditProofOut:
    """One entry, with the exact text that was hashed."""
    row = await repository.find_entry(session, principal.visible(), organisation, position)
    if row is None:
        raise NotFoundError("audit entry", position)
    seen = [AccessedSubject(organisation, None)]
    await record_access(session, "audit", seen, details={"position": position}, once="entry")
    return AuditProofOut.of(row)
