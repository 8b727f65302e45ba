"""What follows from making, changing and deleting a rule. Must not know HTTP.

A changed condition is another question: what fired under the old one is closed, in the same transaction, and
the new one begins at rest. A new name or severity leaves running alerts alone; they keep the severity under
which they fired.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.core.auth import Principal
from app.core.database import WriteSession
from app.core.errors import NotFoundError
from app.core.gate import close_gate
from app.core.ids import new_id
from app.core.ports import AlertCloser
from app.rules import repository
from app.rules.models import Rule
from app.rules.schemas import Condition, RuleCreate


class Changed(NamedTuple):
    """A rule after a change, and how many alerts were closed by it."""

    rule: Rule
    closed: int


async def create(session: WriteSession, principal: Principal, wanted: RuleCreate, now: datetime) -> Rule:
    """Make a rule for the organisation of its site.

    Raises:
        NotFoundError: the caller sees no such site, or it is not the named organisation's.
        InvalidError: `foreign_organisation`.
    """
    named = None if wanted.organisation_id is None else principal.owner(wanted.organisation_id)
    owner = await repository.site_owner(session, wanted.site_id, principal.visible())
    if owner is None or named not in {None, owner}:
        raise NotFoundError("site", wanted.site_id)
    rule = Rule(
        id=new_id(),
        organisation_id=owner,
        site_id=wanted.site_id,
        name=wanted.name,
        severity=wanted.severity,
        condition=wanted.condition.stored(),
        enabled=wanted.enabled,
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(rule)
    await session.flush()
    return rule


async def change(
    session: WriteSession,
    principal: Principal,
    rule_id: UUID,
    fields: Mapping[str, Any],
    *,
    close_alerts: AlertCloser,
    now: datetime,
) -> Changed:
    """Change a rule's name, severity, condition or `enabled`; what is given as it was changes nothing."""
    await close_gate(session)
    rule = await repository.lock(session, rule_id, principal.visible())
    new = {name: value.stored() if isinstance(value, Condition) else value for name, value in fields.items()}
    new = {name: value for name, value in new.items() if getattr(rule, name) != value}
    if not new:
        return Changed(rule, 0)
    for name, value in new.items():
        setattr(rule, name, value)
    rule.version += 1
    rule.updated_at = now
    # Before the alerts: see AlertCloser for the order of the locks.
    await session.flush()
    reason = "rule_disabled" if new.get("enabled") is False else "rule_changed"
    if reason == "rule_changed" and "condition" not in new:
        return Changed(rule, 0)
    return Changed(rule, await close_alerts(session, reason=reason, now=now, rule_id=rule.id))


async def delete(
    session: WriteSession, principal: Principal, rule_id: UUID, *, close_alerts: AlertCloser, now: datetime
) -> int:
    """Delete a rule and return how many alerts were closed by it. The row is kept: its alerts refer to it."""
    await close_gate(session)
    rule = await repository.lock(session, rule_id, principal.visible())
    rule.deleted_at = now
    rule.updated_at = now
    rule.version += 1
    await session.flush()
    return await close_alerts(session, reason="rule_deleted", now=now, rule_id=rule.id)
