"""Serves `/v1/rules`: creates, lists, reads, changes, restores and deletes rules."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import AfterValidator

from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.alert_closer_protocol import AlertCloser, AlertCloserDependency
from app.platform.db.database import Database, WriteSession
from app.platform.http.contract.etags import PreconditionDep, skip_precondition
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import NameFilter, OrganisationFilter
from app.rules.definitions import rule_queries, rule_versions, service
from app.rules.definitions.condition_fields import MetricName
from app.rules.definitions.models import Rule
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.rule_queries import RuleFilter
from app.rules.definitions.rule_response_schemas import RuleCheckOut, RuleOut, RuleVersionOut
from app.rules.definitions.schemas import RuleChange, RuleCreate
from app.rules.definitions.severity import Severity
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.service import check_preset


class RuleRoute(StrictRoute):
    """A route whose body contains conditions. They are nested deeper, and have their own limits."""

    max_depth = 32
    # A condition has up to 50 parts, and each may name 200 boxes.
    max_body = 1_048_576


router = APIRouter(prefix="/v1/rules", tags=["Rules"], route_class=RuleRoute)

Reader = Annotated[Principal, Depends(require_scope("rules:read"))]
Writer = Annotated[Principal, Depends(require_scope("rules:write"))]


def _preset(preset_id: str | None) -> str | None:
    return None if preset_id is None else check_preset(preset_id)


@router.post("", status_code=201, summary="Create a rule", responses=document_problems(404))
async def create_rule(
    principal: Writer, session: WriteSessionDep, body: Annotated[RuleCreate, Body(openapi_examples=EXAMPLES)]
) -> RuleOut:
    """Create a rule. It is evaluated from the next sample on.

    On each box, the rule becomes pending at the first sample for which the condition holds. It returns to
    rest if a sample does not meet the condition. It fires at the first sample for which the condition still
    holds after `for`, and resolves when a value reaches `clear`. All durations are in measurement time. Late
    samples change nothing.

    The keys of a condition select its kind. A condition has at most 50 parts, nested at most 6 deep:

    * a comparison of the newest value of a metric, or of an aggregate over a `window`, with a threshold
      (`operator` `>`, `>=`, `<`, `<=`) or a range (`inside`, `outside`);
    * silence (`no_data`), or an `event` that a box recognised;
    * `index`: a comparison of an index when its period is over;
    * `all`, `any` or `not` of other conditions;
    * `boxes`: how many boxes of the site meet a condition. Such a rule is on the whole site.

    A value older than `max_age` is unknown. An unknown condition neither fires nor resolves.
    """
    return RuleOut.of(await service.add_rule(session, principal, body, datetime.now(UTC)))


@router.post("/check", summary="Check a rule", responses=document_problems(404))
async def check_rule(
    principal: Writer,
    session: WriteSessionDep,
    body: Annotated[RuleCreate, Body(openapi_examples=EXAMPLES)],
    replaces: Annotated[
        Identifier | None,
        Query(description="A rule that it would replace: its parts do not count for the limits of the site"),
    ] = None,
) -> RuleCheckOut:
    """Check a rule as its creation does. The answer is the rule as it would be stored. Nothing is stored.

    The errors are those of the creation. To see which alerts it would have made, use
    `POST /v1/rules/backtest`.
    """
    checked = await service.check_rule(session, principal, body, replaces=replaces)
    return RuleCheckOut.of(body, checked.definition)


@router.get("", summary="List rules", responses=document_problems(404))
async def list_rules(
    *,
    principal: Reader,
    session: ReadSessionDep,
    site: Annotated[str | None, Query(description="Only rules of this site")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled rules, or only disabled ones")] = None,
    dry_run: Annotated[bool | None, Query(description="Only rules in a dry run, or only the others")] = None,
    severity: Annotated[Severity | None, Query(description="Only rules with this highest severity")] = None,
    metric: Annotated[MetricName | None, Query(description="Only rules that use this metric")] = None,
    preset: Annotated[
        str | None,
        AfterValidator(_preset),
        Query(
            description="Only rules made from this preset",
            json_schema_extra={"enum": sorted(PRESETS)},
        ),
    ] = None,
    organisation: OrganisationFilter = None,
    q: NameFilter = None,
    page: Annotated[PageRequest, Depends(rule_queries.RULES.page_request)],
) -> Page[RuleOut]:
    """List rules, by default in the order of their creation. Deleted rules are not listed."""
    rule_filter = RuleFilter(
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
    rows, following = rule_queries.RULES.cut(
        await rule_queries.read_rule_page(session, rule_filter, page), page
    )
    return Page(data=[RuleOut.of(row) for row in rows], next=following)


@router.get("/{rule_id}", summary="Read a rule")
async def get_rule(principal: Reader, session: ReadSessionDep, rule_id: str) -> RuleOut:
    """Read one rule."""
    return RuleOut.of(await rule_queries.find_rule(session, parse_id(rule_id, "rule"), principal.visible()))


@router.patch("/{rule_id}", summary="Change a rule")
async def update_rule(
    *,
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    body: RuleChange,
    matching: PreconditionDep,
) -> RuleOut:
    """Change the fields that the body contains. Conditions, levels and lists are replaced as a whole.

    A change of the condition, levels, scope, hours, `max_age` or `dry_run` closes the firing alerts of the
    rule (`resolution` `rule_changed`) and restarts it. `enabled: false` closes them, too (`rule_disabled`). A
    change of the name, description or severity does not; the next alert shows it. `severity` and `condition`
    together replace `levels`, and `levels` replaces both.
    """
    return await _change(principal, database, close_alerts, rule_id, body, check=matching.on(RuleOut.of))


async def _change(
    principal: Principal,
    database: Database,
    close_alerts: AlertCloser,
    rule_id: str,
    body: RuleChange,
    *,
    check: Callable[[Rule], None] = skip_precondition,
) -> RuleOut:
    key, now = parse_id(rule_id, "rule"), datetime.now(UTC)
    return await _commit_change(
        database,
        lambda session: service.change_rule(
            session, principal, key, body, close_alerts=close_alerts, now=now, check=check
        ),
    )


async def _commit_change(
    database: Database, change: Callable[[WriteSession], Awaitable[service.RuleChangeOutcome]]
) -> RuleOut:
    # The session ends before the dispatcher wakes: it must see the committed outbox.
    async with database.write() as session:
        outcome = await change(session)
        response = RuleOut.of(outcome.rule)
    if outcome.closed:
        await wake_dispatcher_after(database)
    return response


@router.post("/{rule_id}/dry-run", summary="Start a dry run")
async def dry_run_rule(
    principal: Writer, database: DatabaseDependency, close_alerts: AlertCloserDependency, rule_id: str
) -> RuleOut:
    """Start a dry run: the rule records alerts, but notifies no one. Its firing alerts are closed."""
    return await _change(principal, database, close_alerts, rule_id, RuleChange(dry_run=True))


@router.post("/{rule_id}/go-live", summary="End a dry run")
async def go_live_rule(
    principal: Writer, database: DatabaseDependency, close_alerts: AlertCloserDependency, rule_id: str
) -> RuleOut:
    """End a dry run: the rule notifies again. It restarts, and the alerts of the dry run are closed."""
    return await _change(principal, database, close_alerts, rule_id, RuleChange(dry_run=False))


@router.get("/{rule_id}/versions", summary="List the versions of a rule")
async def list_rule_versions(
    principal: Reader,
    session: ReadSessionDep,
    rule_id: str,
    page: Annotated[PageRequest, Depends(rule_versions.VERSIONS.page_request)],
) -> Page[RuleVersionOut]:
    """List the versions of a rule and the keys that made them, by default the newest first.

    The versions of a deleted rule stay readable.
    """
    found = await rule_versions.read_version_page(
        session, parse_id(rule_id, "rule"), principal.visible(), page
    )
    rows, following = rule_versions.VERSIONS.cut(found, page)
    return Page(data=[RuleVersionOut.of(*row) for row in rows], next=following)


@router.get("/{rule_id}/versions/{version}", summary="Read a version of a rule")
async def get_rule_version(
    principal: Reader, session: ReadSessionDep, rule_id: str, version: str
) -> RuleVersionOut:
    """Read a version of a rule. `rule_version` of an alert names the version that fired."""
    found = await rule_versions.find_version(session, parse_id(rule_id, "rule"), version, principal.visible())
    return RuleVersionOut.of(*found)


@router.post("/{rule_id}/versions/{version}/restore", summary="Restore a version of a rule")
async def restore_rule_version(
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    version: Annotated[str, Path(description="A version of the rule", examples=["2"])],
) -> RuleOut:
    """Restore all fields of an earlier version, as a new version.

    `enabled` and `dry_run` are restored, too. If the condition changes, firing alerts are closed, as with any
    change. If nothing changes, no version is made. A version that names a box that has left the site is
    refused (`unknown_box_in_rule`). A deleted rule cannot be restored.
    """
    key, now = parse_id(rule_id, "rule"), datetime.now(UTC)
    return await _commit_change(
        database,
        lambda session: service.restore_version(
            session, principal, key, version, close_alerts=close_alerts, now=now
        ),
    )


@router.delete("/{rule_id}", status_code=204, summary="Delete a rule")
async def delete_rule(
    principal: Writer,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    rule_id: str,
    matching: PreconditionDep,
) -> None:
    """Delete a rule. Its firing alerts are closed (`resolution` `rule_deleted`). All alerts stay readable."""
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
