"""Creates, changes, restores and deletes rules, and closes the alerts that a change ends.

A change of the conditions, scope, active hours or `max_age` restarts a rule: its firing alerts are closed in
the same transaction. The start or end of a dry run restarts it, too: recipients of a firing alert are
notified of its end, while alerts of a dry run end without a notification. A change of the name, description,
severity, escalations or reminders does not restart it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from app.platform.db.alert_closer_protocol import AlertCloser
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.http.contract.etags import skip_precondition
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.rules.definitions import rule_queries, rule_versions
from app.rules.definitions.definition_changes import (
    DEFINITION_FIELDS,
    apply_rule_change,
    compute_effort,
    count_index_conditions,
    iterate_rule_boxes,
    should_restart_rule,
)
from app.rules.definitions.models import Rule, RuleVersion
from app.rules.definitions.schemas import RuleChange, RuleCreate
from app.rules.definitions.severity import find_highest_severity

_COLUMNS = ("name", "description", "enabled", "dry_run")
INDEX_LIMIT: Final = 100
"""The index conditions that a site may have: each is computed for each box of its scope."""
# The parts of conditions that are evaluated for each sample of a site: some 5 µs each.
EFFORT_LIMIT: Final = 2_000


class CheckedRule(NamedTuple):
    """A rule that may be stored: the organisation of its site, its definition and its effort."""

    organisation_id: UUID
    definition: dict[str, Any]
    effort: int


class RuleChangeOutcome(NamedTuple):
    """A rule after a change, and the number of alerts that the change closed."""

    rule: Rule
    closed: int


async def check_rule(
    session: WriteSession, principal: Principal, body: RuleCreate, *, replaces: UUID | None = None
) -> CheckedRule:
    """Check a rule as its creation does, and store nothing.

    Args:
        session: of the transaction.
        principal: the caller.
        body: the rule.
        replaces: the rule that it would replace, whose parts and boxes do not count as new.

    Raises:
        NotFoundError: the caller cannot see the site or the replaced rule, or the site is not of the named
            organisation.
        InvalidError: `foreign_organisation`; `unknown_box_in_rule` for a box of another site;
            `too_many_conditions` if the rules of the site exceed a limit.
    """
    named = None if body.organisation_id is None else principal.owner(body.organisation_id)
    owner = await rule_queries.find_site_owner(session, body.site_id, principal.visible())
    if owner is None or named not in {None, owner}:
        raise NotFoundError("site", body.site_id)
    old = None if replaces is None else await rule_queries.find_rule(session, replaces, principal.visible())
    definition = body.definition()
    await _check_boxes(session, body.site_id, definition, known=None if old is None else old.definition)
    effort = compute_effort(definition)
    if body.enabled:
        await _check_effort(session, body.site_id, effort, but=replaces)
        await _check_indices(session, body.site_id, count_index_conditions(definition), but=replaces)
    return CheckedRule(owner, definition, effort)


async def add_rule(
    session: WriteSession,
    principal: Principal,
    body: RuleCreate,
    now: datetime,
    *,
    preset: Mapping[str, Any] | None = None,
) -> Rule:
    """Create a rule for the organisation of its site.

    Args:
        session: of the transaction.
        principal: the caller.
        body: the rule.
        now: the time of the creation.
        preset: the id and version of the preset that the rule is made from.

    Raises:
        NotFoundError, InvalidError: as `check_rule`.
    """
    checked = await check_rule(session, principal, body)
    definition = checked.definition | ({} if preset is None else {"preset": dict(preset)})
    rule = Rule(
        id=new_id(),
        organisation_id=checked.organisation_id,
        site_id=body.site_id,
        name=body.name,
        description=body.description,
        severity=_severity(definition),
        definition=definition,
        effort=checked.effort,
        enabled=body.enabled,
        dry_run=body.dry_run,
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(rule)
    await session.flush()
    rule_versions.record_version(session, rule, principal.key_id, now)
    await session.flush()
    return rule


async def change_rule(
    session: WriteSession,
    principal: Principal,
    rule_id: UUID,
    body: RuleChange,
    *,
    close_alerts: AlertCloser,
    now: datetime,
    within: str = "body",
    check: Callable[[Rule], None] = skip_precondition,
) -> RuleChangeOutcome:
    """Change a rule. Fields with their present value change nothing, and make no version.

    Args:
        session: of the transaction.
        principal: the caller.
        rule_id: the rule.
        body: the fields to change.
        close_alerts: closes the firing alerts of a rule.
        now: the time of the change.
        within: where error messages locate the fault, such as `body`.
        check: raises if a precondition on the present rule fails.

    Raises:
        NotFoundError: the caller cannot see such a rule.
        InvalidError: `condition_or_levels`; `unknown_box_in_rule` for a box of another site;
            `too_many_conditions` if the rules of the site exceed a limit.
    """
    await close_ingest_barrier(session)
    rule = await rule_queries.lock_rule(session, rule_id, principal.visible())
    check(rule)
    fields = collect_sent_fields(body)
    old, definition = rule.definition, apply_rule_change(rule.definition, body)
    new: dict[str, Any] = {name: fields[name] for name in _COLUMNS if name in fields}
    new |= {
        "definition": definition,
        "severity": _severity(definition),
        "effort": compute_effort(definition),
    }
    new = {name: value for name, value in new.items() if getattr(rule, name) != value}
    if not new:
        return RuleChangeOutcome(rule, 0)
    if "definition" in new:
        # Boxes that the rule named before may have left the site: they must not block other changes.
        await _check_boxes(session, rule.site_id, definition, known=old, within=within)
    effort = new.get("effort", rule.effort)
    # A smaller effort than before is never refused.
    if new.get("enabled", rule.enabled) and (new.get("enabled") or effort > rule.effort):
        await _check_effort(session, rule.site_id, effort, but=rule.id)
    indices = count_index_conditions(definition)
    if new.get("enabled", rule.enabled) and (new.get("enabled") or indices > count_index_conditions(old)):
        await _check_indices(session, rule.site_id, indices, but=rule.id)
    for name, value in new.items():
        setattr(rule, name, value)
    rule.version += 1
    rule.updated_at = now
    # Flush before closing alerts: AlertCloser prescribes the order of locks.
    await session.flush()
    rule_versions.record_version(session, rule, principal.key_id, now)
    await session.flush()
    if new.get("enabled") is False:
        reason = "rule_disabled"
    elif "dry_run" in new or should_restart_rule(old, definition):
        reason = "rule_changed"
    else:
        return RuleChangeOutcome(rule, 0)
    return RuleChangeOutcome(rule, await close_alerts(session, reason=reason, now=now, rule_id=rule.id))


async def restore_version(
    session: WriteSession,
    principal: Principal,
    rule_id: UUID,
    version: str,
    *,
    close_alerts: AlertCloser,
    now: datetime,
) -> RuleChangeOutcome:
    """Restore an earlier version of a rule by an ordinary change.

    Args:
        session: of the transaction.
        principal: the caller.
        rule_id: the rule.
        version: the number of the version, as text.
        close_alerts: closes the firing alerts of a rule.
        now: the time of the change.

    Raises:
        NotFoundError: the caller cannot see such a rule or version, or the rule is deleted.
        InvalidError: `unknown_box_in_rule` for a box that has left the site; `version_outdated` for a
            definition that is no longer valid.
    """
    # Close the barrier before the first query: a waiting request must not hold a connection.
    await close_ingest_barrier(session)
    found = await rule_versions.find_version(session, rule_id, version, principal.visible())
    body = _as_change(found.version)
    return await change_rule(
        session, principal, rule_id, body, close_alerts=close_alerts, now=now, within="version"
    )


def _as_change(version: RuleVersion) -> RuleChange:
    """Convert a version to the change that restores it."""
    fields = {name: getattr(version, name) for name in _COLUMNS}
    fields |= {name: version.definition[name] for name in DEFINITION_FIELDS}
    levels = version.definition["levels"]
    fields |= levels[0] if len(levels) == 1 else {"levels": levels}
    try:
        return RuleChange.model_validate(fields)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidError(
            f"The version is no longer valid ({where}). Change the rule instead.",
            code="version_outdated",
        ) from None


async def remove_rule(
    session: WriteSession,
    principal: Principal,
    rule_id: UUID,
    *,
    close_alerts: AlertCloser,
    now: datetime,
    check: Callable[[Rule], None] = skip_precondition,
) -> int:
    """Mark a rule as deleted, and return the number of alerts that this closed.

    The row stays: the alerts of the rule refer to it.

    Args:
        session: of the transaction.
        principal: the caller.
        rule_id: the rule.
        close_alerts: closes the firing alerts of a rule.
        now: the time of the deletion.
        check: raises if a precondition on the present rule fails.
    """
    await close_ingest_barrier(session)
    rule = await rule_queries.lock_rule(session, rule_id, principal.visible())
    check(rule)
    rule.deleted_at = now
    rule.updated_at = now
    rule.version += 1
    await session.flush()
    rule_versions.record_version(session, rule, principal.key_id, now)
    await session.flush()
    return await close_alerts(session, reason="rule_deleted", now=now, rule_id=rule.id)


def _severity(definition: Mapping[str, Any]) -> str:
    return find_highest_severity(level["severity"] for level in definition["levels"])


async def _check_effort(
    session: WriteSession, site_id: UUID, effort: int, *, but: UUID | None = None
) -> None:
    others = await rule_queries.sum_rule_efforts(session, site_id, but=but)
    if effort and others + effort > EFFORT_LIMIT:
        raise InvalidError(
            f"The rule has {effort} conditions that are evaluated for every sample, and the other rules of "
            f"the site have {others}. The limit is {EFFORT_LIMIT}. Use fewer conditions, or disable rules. "
            "Rules that compare plain values of one metric, without active hours, do not count.",
            code="too_many_conditions",
        )


async def _check_indices(
    session: WriteSession, site_id: UUID, indices: int, *, but: UUID | None = None
) -> None:
    if not indices:
        return
    others = sum(
        map(count_index_conditions, await rule_queries.find_index_definitions(session, site_id, but=but))
    )
    if others + indices > INDEX_LIMIT:
        raise InvalidError(
            f"The rule has {indices} conditions on indices, and the other rules of the site have {others}. "
            f"The limit is {INDEX_LIMIT}. Use fewer conditions, or disable rules.",
            code="too_many_conditions",
        )


async def _check_boxes(
    session: WriteSession,
    site_id: UUID,
    definition: Mapping[str, Any],
    known: Mapping[str, Any] | None = None,
    within: str = "body",
) -> None:
    before = frozenset() if known is None else frozenset(box for _, box in iterate_rule_boxes(known))
    named = {path: box for path, box in iterate_rule_boxes(definition) if box not in before}
    if not named:
        return
    present = await rule_queries.find_site_boxes(session, site_id, set(named.values()))
    for path, box in named.items():
        if box not in present:
            where = ".".join(map(str, (within, *path)))
            detail = f"{where}: the site of the rule has no box {box}."
            error = {"field": where, "code": "unknown_box_in_rule", "detail": detail}
            raise InvalidError(detail, code="unknown_box_in_rule", extra={"errors": [error]})
