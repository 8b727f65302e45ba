"""The versions of rules: written with each change, read for as long as the rule's alerts are."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.core.database import ReadSession, WriteSession
from app.core.errors import NotFoundError
from app.rules.models import Rule, RuleVersion

LARGEST = 2**31 - 1
"""The greatest number that a version can have."""


def note(session: WriteSession, rule: Rule, changed_by: UUID, now: datetime) -> None:
    """Have a rule as it is now written down, in the transaction of its change."""
    session.add(
        RuleVersion(
            rule_id=rule.id,
            version=rule.version,
            name=rule.name,
            description=rule.description,
            definition=rule.definition,
            enabled=rule.enabled,
            dry_run=rule.dry_run,
            deleted=rule.deleted_at is not None,
            created_at=now,
            created_by=changed_by,
        )
    )


async def page(
    session: ReadSession, rule_id: UUID, visible: UUID | None, *, before: int | None, limit: int
) -> Sequence[RuleVersion]:
    """Read up to `limit` versions of a rule, the newest first, of a deleted rule too.

    Raises:
        NotFoundError: there is no such rule, or it is another organisation's.
    """
    await _seen(session, rule_id, visible)
    query = select(RuleVersion).where(RuleVersion.rule_id == rule_id)
    if before is not None:
        query = query.where(RuleVersion.version < before)
    return (await session.scalars(query.order_by(RuleVersion.version.desc()).limit(limit))).all()


async def find(session: ReadSession, rule_id: UUID, version: str, visible: UUID | None) -> RuleVersion:
    """Read one version of a rule, of a deleted rule too.

    Raises:
        NotFoundError: there is no such rule or version, or it is another organisation's.
    """
    await _seen(session, rule_id, visible)
    number = (
        int(version) if version.isascii() and version.isdecimal() and len(version) <= len(str(LARGEST)) else 0
    )
    found = await session.get(RuleVersion, (rule_id, number)) if number <= LARGEST else None
    if found is None:
        raise NotFoundError("version", version)
    return found


async def _seen(session: ReadSession, rule_id: UUID, visible: UUID | None) -> None:
    query = select(Rule.id).where(Rule.id == rule_id)
    if visible is not None:
        query = query.where(Rule.organisation_id == visible)
    if await session.scalar(query) is None:
        raise NotFoundError("rule", rule_id)
