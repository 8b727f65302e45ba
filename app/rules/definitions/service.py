"""What follows from making, changing and deleting a rule. Must not know HTTP.

A rule that asks something else begins anew: what fired before is closed, in the same transaction. A new name,
description or severity, other escalations and reminders leave running alerts alone. A rule that goes on trial
or comes back from it begins anew too: who was told that an alert fires is told that it ended, and an alert of
the trial is not told as it ends.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.db.protocols import AlertCloser
from app.platform.http.contract.etags import skip_precondition
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.rules.definitions import repository, rule_versions
from app.rules.definitions.models import Rule, RuleVersion
from app.rules.definitions.rule_changes import (
    DEFINITION_FIELDS,
    apply_rule_change,
    compute_effort,
    count_index_conditions,
    iterate_rule_boxes,
    should_restart_rule,
)
from app.rules.definitions.schemas import RuleChange, RuleCreate
from app.rules.definitions.severity import find_highest_severity

_COLUMNS = ("name", "description", "enabled", "dry_run")
INDEX_LIMIT: Final = 100
"""Parts of conditions that look at indices: each is computed for each box of its scope."""
# Parts of conditions that have to look at each sample of a site: some 5 µs each.
EFFORT_LIMIT: Final = 2_000


class RuleChangeOutcome(NamedTuple):
    """A rule after a change, and how many alerts were closed by it."""

    rule: Rule
    closed: int


async def add_rule(
    session: WriteSession,
    principal: Principal,
    wanted: RuleCreate,
    now: datetime,
    *,
    preset: Mapping[str, Any] | None = None,
) -> Rule:
    """Make a rule for the organisation of its site; `preset`: the id and version of the one that it is of.

    Raises:
        NotFoundError: the caller sees no such site, or it is not the named organisation's.
        InvalidError: `foreign_organisation`; `unknown_box_in_rule` for a box that is not of the site;
            `too_many_conditions` for a site whose rules are enough.
    """
    named = None if wanted.organisation_id is None else principal.owner(wanted.organisation_id)
    owner = await repository.find_site_owner(session, wanted.site_id, principal.visible())
    if owner is None or named not in {None, owner}:
        raise NotFoundError("site", wanted.site_id)
    definition = wanted.definition() | ({} if preset is None else {"preset": dict(preset)})
    await _check_boxes(session, wanted.site_id, definition)
    effort = compute_effort(definition)
    if wanted.enabled:
        await _check_effort(session, wanted.site_id, effort)
        await _check_indices(session, wanted.site_id, count_index_conditions(definition))
    rule = Rule(
        id=new_id(),
        organisation_id=owner,
        site_id=wanted.site_id,
        name=wanted.name,
        description=wanted.description,
        severity=_severity(definition),
        definition=definition,
        effort=effort,
        enabled=wanted.enabled,
        dry_run=wanted.dry_run,
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
    wanted: RuleChange,
    *,
    close_alerts: AlertCloser,
    now: datetime,
    within: str = "body",
    check: Callable[[Rule], None] = skip_precondition,
) -> RuleChangeOutcome:
    """Change a rule that passes a check; what is given as it was changes nothing.

    `within` is where refusals say that the fault is.

    Raises:
        NotFoundError: the caller sees no such rule.
        InvalidError: `condition_or_levels`; `unknown_box_in_rule` for a box that is not of the site;
            `too_many_conditions` for a site whose rules are enough.
    """
    await close_ingest_barrier(session)
    rule = await repository.lock_rule(session, rule_id, principal.visible())
    check(rule)
    fields = collect_sent_fields(wanted)
    old, definition = rule.definition, apply_rule_change(rule.definition, wanted)
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
        # Boxes that were named before may have left since: that is no reason to refuse another change.
        await _check_boxes(session, rule.site_id, definition, known=old, within=within)
    effort = new.get("effort", rule.effort)
    # Less than before is never refused.
    if new.get("enabled", rule.enabled) and (new.get("enabled") or effort > rule.effort):
        await _check_effort(session, rule.site_id, effort, but=rule.id)
    indices = count_index_conditions(definition)
    if new.get("enabled", rule.enabled) and (new.get("enabled") or indices > count_index_conditions(old)):
        await _check_indices(session, rule.site_id, indices, but=rule.id)
    for name, value in new.items():
        setattr(rule, name, value)
    rule.version += 1
    rule.updated_at = now
    # Before the alerts: see AlertCloser for the order of the locks.
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
    """Make a rule again what it was in a version, by a change like any other.

    Raises:
        NotFoundError: the caller sees no such rule or version, or the rule is deleted.
        InvalidError: `unknown_box_in_rule` for a box that is of the site no longer; `version_outdated` for
            what rules may not have any more.
    """
    # Before the version is read, or a connection would be held by who waits for a turn.
    await close_ingest_barrier(session)
    known = await rule_versions.find_version(session, rule_id, version, principal.visible())
    wanted = _as_change(known.version)
    return await change_rule(
        session, principal, rule_id, wanted, close_alerts=close_alerts, now=now, within="version"
    )


def _as_change(version: RuleVersion) -> RuleChange:
    """All that a version holds, as the change that leads to it."""
    fields = {name: getattr(version, name) for name in _COLUMNS}
    fields |= {name: version.definition[name] for name in DEFINITION_FIELDS}
    levels = version.definition["levels"]
    fields |= levels[0] if len(levels) == 1 else {"levels": levels}
    try:
        return RuleChange.model_validate(fields)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidError(
            f"This version has what rules may not have any more ({where}). Change the rule itself.",
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
    """Delete a rule that passes a check, and return how many alerts were closed by it.

    The row is kept: its alerts refer to it.
    """
    await close_ingest_barrier(session)
    rule = await repository.lock_rule(session, rule_id, principal.visible())
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
    others = await repository.sum_rule_efforts(session, site_id, but=but)
    if effort and others + effort > EFFORT_LIMIT:
        raise InvalidError(
            f"This rule has {effort} conditions that look at every sample, and the site's other rules have "
            f"{others}: together at most {EFFORT_LIMIT}. Take fewer, or disable rules. Rules that compare "
            "plain values of one metric, without active hours, do not count.",
            code="too_many_conditions",
        )


async def _check_indices(
    session: WriteSession, site_id: UUID, indices: int, *, but: UUID | None = None
) -> None:
    if not indices:
        return
    others = sum(
        map(count_index_conditions, await repository.find_index_definitions(session, site_id, but=but))
    )
    if others + indices > INDEX_LIMIT:
        raise InvalidError(
            f"This rule has {indices} conditions that look at indices, and the site's other rules have "
            f"{others}: together at most {INDEX_LIMIT}. Take fewer, or disable rules.",
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
    present = await repository.find_site_boxes(session, site_id, set(named.values()))
    for path, box in named.items():
        if box not in present:
            where = ".".join(map(str, (within, *path)))
            detail = f"{where}: the rule's site has no box {box}."
            fault = {"field": where, "code": "unknown_box_in_rule", "detail": detail}
            raise InvalidError(detail, code="unknown_box_in_rule", extra={"errors": [fault]})
