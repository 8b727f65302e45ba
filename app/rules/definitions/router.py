"""`/v1/rules`: the HTTP of rules, and nothing else."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from pydantic import AfterValidator

from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.database import Database, WriteSession
from app.platform.db.protocols import AlertCloser
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep, get_database
from app.platform.http.contract.etags import PreconditionDep, skip_precondition
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import NameFilter, OrganisationFilter
from app.rules.definitions import repository, rule_versions, service
from app.rules.definitions.condition_fields import MetricName
from app.rules.definitions.models import Rule
from app.rules.definitions.repository import RuleFilter
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import RuleChange, RuleCreate
from app.rules.definitions.severity import Severity
from app.rules.definitions.stored_rule_schemas import RuleOut, RuleVersionOut
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.service import check_preset


class RuleRoute(StrictRoute):
    """A route whose body may hold conditions: deeper than others, and refused by their own limits."""

    max_depth = 32
    # Fifty parts of a condition, of which each may name two hundred boxes.
    max_body = 1_048_576


router = APIRouter(prefix="/v1/rules", tags=["Rules"], route_class=RuleRoute)

Reader = Annotated[Principal, Depends(require_scope("rules:read"))]
Writer = Annotated[Principal, Depends(require_scope("rules:write"))]


async def _closer(request: Request) -> AlertCloser:
    closer: AlertCloser = request.app.state.close_alerts
    return closer


def _preset(preset_id: str | None) -> str | None:
    return None if preset_id is None else check_preset(preset_id)


AlertCloserDependency = Annotated[AlertCloser, Depends(_closer)]
DatabaseDependency = Annotated[Database, Depends(get_database)]


@router.post(
    "",
    status_code=201,
    summary="Create a rule",
    operation_id="create_rule",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def create_rule(
    principal: Writer, session: WriteSessionDep, body: Annotated[RuleCreate, Body(openapi_examples=EXAMPLES)]
) -> RuleOut:
    """Watch the boxes of a site, from the next sample on.

    For each box: the first sample with which the condition holds begins the wait, one with which it does not
    ends the wait, and the first one with which it still holds after `for` fires. Then only what is at or
    beyond `clear` resolves. All of it in the samples' own time; late samples change nothing.

    A condition is one of these, told apart by their keys; at most 50 of them, nested at most 6 deep:

    * a comparison of a metric's newest value, or of what a `window` of values comes to, with a threshold
      (`operator` `>`, `>=`, `<`, `<=`) or a range (`inside`, `outside`);
    * silence (`no_data`), or an `event` that a box recognised;
    * `all`, `any` or `not` of others;
    * `boxes`: how many of the site's boxes do something. Such a rule is on the site as a whole.

    A value older than `max_age` is not known. What is not known neither fires nor resolves.
    """
    return RuleOut.of(await service.add_rule(session, principal, body, datetime.now(UTC)))


@router.get(
    "",
    summary="List rules",
    operation_id="list_rules",
    responses=document_problems(401, 403, 404, 422),
)
async def list_rules(
    *,
    principal: Reader,
    session: ReadSessionDep,
    site: Annotated[str | None, Query(description="Only this site's")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled ones")] = None,
    dry_run: Annotated[bool | None, Query(description="Only those on trial, or only the others")] = None,
    severity: Annotated[
        Severity | None, Query(description="Only of this severity, of ladders the gravest")
    ] = None,
    metric: Annotated[MetricName | None, Query(description="Only those that look at this metric")] = None,
    preset: Annotated[
        str | None,
        AfterValidator(_preset),
        Query(
            description="Only those that were made of this preset",
            json_schema_extra={"enum": sorted(PRESETS)},
        ),
    ] = None,
    organisation: OrganisationFilter = None,
    q: NameFilter = None,
    asked: Annotated[PageRequest, Depends(repository.RULES.asked)],
) -> Page[RuleOut]:
    """List rules by default in the order of their creation. Deleted ones are not shown."""
    wanted = RuleFilter(
        visible=principal.visible(),
        site_id=None if site is None else parse_id(site, "site"),
        enabled=enabled,
        dry_run=dry_run,
        severity=severity,
        metric=metric,
        preset=preset,
        organisation_id=organisation,
        search=q,
    )
    rows, following = repository.RULES.cut(await repository.read_rule_page(session, wanted, asked), asked)
    return Page(data=[RuleOut.of(row) for row in rows], next=following)


@router.get(
    "/{rule_id}",
    summary="Read a rule",
    operation_id="get_rule",
    responses=document_problems(401, 403, 404),
)
async def get_rule(principal: Reader, session: ReadSessionDep, rule_id: str) -> RuleOut:
    """Read one rule."""
    return RuleOut.of(await repository.find_rule(session, parse_id(rule_id, "rule"), principal.visible()))


@router.patch(
    "/{rule_id}",
    summary="Change a rule",
    operation_id="update_rule",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def update_rule(
    *,
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    body: RuleChange,
    matching: PreconditionDep,
) -> RuleOut:
    """Change the fields given; conditions, levels and lists are replaced as a whole.

    Another condition, other levels, scope, hours or `max_age`, and `dry_run` either way, close what the rule
    has firing (`resolution` `rule_changed`; `rule_disabled` for `enabled: false`) and begin anew. Another
    name, description or severity does not; it shows in the next alert. `severity` and `condition` together
    take the place of levels, and levels that of both.
    """
    return await _change(principal, database, close_alerts, rule_id, body, check=matching.on(RuleOut.of))


async def _change(
    principal: Principal,
    database: Database,
    close_alerts: AlertCloser,
    rule_id: str,
    wanted: RuleChange,
    *,
    check: Callable[[Rule], None] = skip_precondition,
) -> RuleOut:
    key, now = parse_id(rule_id, "rule"), datetime.now(UTC)
    return await _changing(
        database,
        lambda session: service.change_rule(
            session, principal, key, wanted, close_alerts=close_alerts, now=now, check=check
        ),
    )


async def _changing(
    database: Database, change: Callable[[WriteSession], Awaitable[service.RuleChangeOutcome]]
) -> RuleOut:
    # A session of its own: the dispatcher is woken once the commit is done.
    async with database.write() as session:
        changed = await change(session)
        shown = RuleOut.of(changed.rule)
    if changed.closed:
        await wake_dispatcher_after(database)
    return shown


@router.post(
    "/{rule_id}/dry-run",
    summary="Put a rule on trial",
    operation_id="dry_run_rule",
    responses=document_problems(401, 403, 404),
)
async def dry_run_rule(
    principal: Writer, database: DatabaseDependency, close_alerts: AlertCloserDependency, rule_id: str
) -> RuleOut:
    """Have a rule fire and resolve as ever, and tell nobody of it. What it has firing is closed."""
    return await _change(principal, database, close_alerts, rule_id, RuleChange(dry_run=True))


@router.post(
    "/{rule_id}/go-live",
    summary="End a rule's trial",
    operation_id="go_live_rule",
    responses=document_problems(401, 403, 404),
)
async def go_live_rule(
    principal: Writer, database: DatabaseDependency, close_alerts: AlertCloserDependency, rule_id: str
) -> RuleOut:
    """Have a rule's alerts told again. It begins anew: the alerts of the trial are closed."""
    return await _change(principal, database, close_alerts, rule_id, RuleChange(dry_run=False))


@router.get(
    "/{rule_id}/versions",
    summary="List a rule's versions",
    operation_id="list_rule_versions",
    responses=document_problems(401, 403, 404, 422),
)
async def list_rule_versions(
    principal: Reader,
    session: ReadSessionDep,
    rule_id: str,
    asked: Annotated[PageRequest, Depends(rule_versions.VERSIONS.asked)],
) -> Page[RuleVersionOut]:
    """List what a rule was, by default the newest first, and which key changed it.

    Deleted rules keep theirs.
    """
    found = await rule_versions.read_version_page(
        session, parse_id(rule_id, "rule"), principal.visible(), asked
    )
    rows, following = rule_versions.VERSIONS.cut(found, asked)
    return Page(data=[RuleVersionOut.of(*row) for row in rows], next=following)


@router.get(
    "/{rule_id}/versions/{version}",
    summary="Read a version of a rule",
    operation_id="get_rule_version",
    responses=document_problems(401, 403, 404),
)
async def get_rule_version(
    principal: Reader, session: ReadSessionDep, rule_id: str, version: str
) -> RuleVersionOut:
    """Read what a rule was when an alert fired: alerts have its `rule_version`."""
    found = await rule_versions.find_version(session, parse_id(rule_id, "rule"), version, principal.visible())
    return RuleVersionOut.of(*found)


@router.post(
    "/{rule_id}/versions/{version}/restore",
    summary="Make a rule what it was",
    operation_id="restore_rule_version",
    responses=document_problems(401, 403, 404, 422),
)
async def restore_rule_version(
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    version: Annotated[str, Path(description="One of the rule's versions", examples=["2"])],
) -> RuleOut:
    """Give a rule the name, description, conditions and all else of one of its versions, as a new version.

    It is a change like any other: it closes what fires where it asks something else, and where the rule is as
    it was then it changes nothing. `enabled` and `dry_run` are those of the version too. A box that it names,
    and that has left since, is refused (`unknown_box_in_rule`). Deleted rules do not come back.
    """
    key, now = parse_id(rule_id, "rule"), datetime.now(UTC)
    return await _changing(
        database,
        lambda session: service.restore_version(
            session, principal, key, version, close_alerts=close_alerts, now=now
        ),
    )


@router.delete(
    "/{rule_id}",
    status_code=204,
    summary="Delete a rule",
    operation_id="delete_rule",
    responses=document_problems(401, 403, 404),
)
async def delete_rule(
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    matching: PreconditionDep,
) -> None:
    """Delete a rule. What it has firing is closed (`resolution` `rule_deleted`); its alerts stay readable."""
    async with database.write() as session:
        closed = await service.remove_rule(
            session,
            principal,
            parse_id(rule_id, "rule"),
            close_alerts=close_alerts,
            now=datetime.now(UTC),
            check=matching.on(RuleOut.of),
        )
    if closed:
        await wake_dispatcher_after(database)
