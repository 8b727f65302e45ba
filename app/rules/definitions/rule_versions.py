"""The versions of rules: written with each change, read for as long as the rule's alerts are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Text, Uuid, column, func, select, table

from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, number_sort_key
from app.platform.identity.principals import ApiKey
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.rules.definitions.models import Rule, RuleVersion

LARGEST_VERSION = 2**31 - 1
"""The greatest number that a version can have."""


class AuthoredVersion(NamedTuple):
    """A version, and what the key or the person that made it is called now; None where there is none."""

    version: RuleVersion
    changed_by: str | None


# People's is a room that this one has no business with: only their names matter here.
_USERS = table("users", column("id", Uuid), column("name", Text))
# One for each of a page's rows, by its primary key: the joins cost next to nothing.
_WITH_KEY = (
    select(RuleVersion, func.coalesce(ApiKey.name, _USERS.c.name))
    .outerjoin(ApiKey, ApiKey.id == RuleVersion.created_by)
    .outerjoin(_USERS, _USERS.c.id == RuleVersion.created_by)
)


VERSIONS: Final = SortOrders(
    "rule_versions",
    (number_sort_key(RuleVersion.version.expression, lambda known: known.version.version),),
    {"version": ()},
    "-version",
)


def record_version(session: WriteSession, rule: Rule, changed_by: UUID, now: datetime) -> None:
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


async def read_version_page(
    session: ReadSession, rule_id: UUID, visible: TenantScope, asked: PageRequest
) -> Sequence[AuthoredVersion]:
    """Read a page of a rule's versions, and one more, of a deleted rule too.

    Raises:
        NotFoundError: there is no such rule, or it is another organisation's.
    """
    await _seen(session, rule_id, visible)
    query = _WITH_KEY.where(RuleVersion.rule_id == rule_id)
    rows = (await session.execute(VERSIONS.page(query, asked))).all()
    return [AuthoredVersion(*row) for row in rows]


async def find_version(
    session: ReadSession | WriteSession, rule_id: UUID, version: str, visible: TenantScope
) -> AuthoredVersion:
    """Read one version of a rule, of a deleted rule too.

    Raises:
        NotFoundError: there is no such rule or version, or it is another organisation's.
    """
    await _seen(session, rule_id, visible)
    number = (
        int(version)
        if version.isascii() and version.isdecimal() and len(version) <= len(str(LARGEST_VERSION))
        else 0
    )
    query = _WITH_KEY.where(RuleVersion.rule_id == rule_id, RuleVersion.version == number)
    found = (await session.execute(query)).one_or_none() if number <= LARGEST_VERSION else None
    if found is None:
        raise NotFoundError("version", version)
    return AuthoredVersion(*found)


async def _seen(session: ReadSession | WriteSession, rule_id: UUID, visible: TenantScope) -> None:
    query = select(Rule.id).where(Rule.id == rule_id)
    query = query.where(*visible.within(Rule.organisation_id, Rule.site_id))
    if await session.scalar(query) is None:
        raise NotFoundError("rule", rule_id)
