"""`/v1/rules`: the HTTP of rules, and nothing else."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from app.core.auth import Principal, requires
from app.core.database import Database
from app.core.fields import given
from app.core.ids import parse_id
from app.core.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from app.core.ports import AlertCloser
from app.core.problems import documented
from app.core.strict_body import StrictRoute
from app.core.web import Reads, Writes, get_database
from app.rules import repository, service
from app.rules.repository import RuleFilter
from app.rules.schemas import RuleChange, RuleCreate, RuleOut
from app.webhooks.outbox import wake_after

router = APIRouter(prefix="/v1/rules", tags=["Rules"], route_class=StrictRoute)

_KIND = "rules"
Reader = Annotated[Principal, Depends(requires("rules:read"))]
Writer = Annotated[Principal, Depends(requires("rules:write"))]


def _closer(request: Request) -> AlertCloser:
    closer: AlertCloser = request.app.state.close_alerts
    return closer


Closer = Annotated[AlertCloser, Depends(_closer)]
Opened = Annotated[Database, Depends(get_database)]


@router.post(
    "",
    status_code=201,
    summary="Create a rule",
    operation_id="create_rule",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def create_rule(principal: Writer, session: Writes, body: RuleCreate) -> RuleOut:
    """Watch a metric of every box of a site, from the next sample on.

    For each box: the first sample above the threshold begins the wait, a sample not above it ends the wait,
    and the first sample that is still above it after `for` fires. Then only a sample at or below `clear`
    resolves. All of it in the samples' own time; late samples change nothing.
    """
    return RuleOut.of(await service.create(session, principal, body, datetime.now(UTC)))


@router.get(
    "",
    summary="List rules",
    operation_id="list_rules",
    responses=documented(401, 403, 404, 422),
)
async def list_rules(
    *,
    principal: Reader,
    session: Reads,
    site: Annotated[str | None, Query(description="Only this site's")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled ones")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RuleOut]:
    """List rules in the order of their creation. Deleted ones are not shown."""
    wanted = RuleFilter(
        organisation_id=principal.visible(),
        site_id=None if site is None else parse_id(site, "site"),
        enabled=enabled,
        after=None if cursor is None else decode_cursor(_KIND, cursor, UUID)[0],
    )
    rows = await repository.page(session, wanted, limit + 1)
    rows, following = cut(rows, limit, lambda row: encode_cursor(_KIND, str(row.id)))
    return Page(data=[RuleOut.of(row) for row in rows], next=following)


@router.get(
    "/{rule_id}",
    summary="Read a rule",
    operation_id="get_rule",
    responses=documented(401, 403, 404),
)
async def get_rule(principal: Reader, session: Reads, rule_id: str) -> RuleOut:
    """Read one rule."""
    return RuleOut.of(await repository.find(session, parse_id(rule_id, "rule"), principal.visible()))


@router.patch(
    "/{rule_id}",
    summary="Change a rule",
    operation_id="update_rule",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def update_rule(
    principal: Writer, database: Opened, close_alerts: Closer, rule_id: str, body: RuleChange
) -> RuleOut:
    """Change the fields given; `condition` is replaced as a whole.

    A changed condition, or `enabled: false`, closes what the rule has firing (`resolution` `rule_changed` or
    `rule_disabled`) and begins anew. A new name or severity does not; it shows in the next alert.
    """
    # A session of its own: the dispatcher is woken once the commit is done.
    async with database.write() as session:
        changed = await service.change(
            session,
            principal,
            parse_id(rule_id, "rule"),
            given(body),
            close_alerts=close_alerts,
            now=datetime.now(UTC),
        )
        shown = RuleOut.of(changed.rule)
    if changed.closed:
        await wake_after(database)
    return shown


@router.delete(
    "/{rule_id}",
    status_code=204,
    summary="Delete a rule",
    operation_id="delete_rule",
    responses=documented(401, 403, 404),
)
async def delete_rule(principal: Writer, database: Opened, close_alerts: Closer, rule_id: str) -> None:
    """Delete a rule. What it has firing is closed (`resolution` `rule_deleted`); its alerts stay readable."""
    async with database.write() as session:
        closed = await service.delete(
            session,
            principal,
            parse_id(rule_id, "rule"),
            close_alerts=close_alerts,
            now=datetime.now(UTC),
        )
    if closed:
        await wake_after(database)
