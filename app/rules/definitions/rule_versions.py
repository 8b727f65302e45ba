"""Records a version of a rule with each change, and reads versions.

The versions of a deleted rule stay readable, as its alerts do.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Text, Uuid, column, func, select, table

from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, number_sort_key
from app.platform.identity.api_keys import ApiKey
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.rules.definitions.models import Rule, RuleVersion

LARGEST_VERSION = 2**31 - 1
"""The largest version number that the column can store."""


class AuthoredVersion(NamedTuple):
    """A version, and the present name of the key or person that made it, if it still exists."""

    version: RuleVersion
    changed_by: str | None


class SiteVersion(NamedTuple):
    """A version with its author, as in `AuthoredVersion`, and the site of its rule."""

    version: RuleVersion
    changed_by: str | None
    site_id: UUID


# A partial table: this room must not import the models of `people`, and needs only the names.
_USERS = table("users", column("id", Uuid), column("name", Text))
# Each join is one primary key lookup per row of a page.
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
    """Record the present state of a rule as a version, in the transaction of its change.

    Args:
        session: the session of the change.
        rule: the changed rule.
        changed_by: the API key or person that changed it.
        now: the time of the change.
    """
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
    session: ReadSession, rule_id: UUID, visible: TenantScope, page: PageRequest
) -> Sequence[AuthoredVersion]:
    """Read a page of the versions of a rule, and one row more. The rule may be deleted.

    Args:
        session: to the database.
        rule_id: the rule.
        visible: the tenant scope of the caller.
        page: the requested page.

    Raises:
        NotFoundError: the rule does not exist or is outside of the tenant scope.
    """
    await _check_visible(session, rule_id, visible)
    query = _WITH_KEY.where(RuleVersion.rule_id == rule_id)
    rows = (await session.execute(VERSIONS.page(query, page))).all()
    return [AuthoredVersion(*row) for row in rows]


async def list_recent_versions(
    session: ReadSession, visible: TenantScope, organisation: UUID | None, since: datetime, most: int
) -> Sequence[SiteVersion]:
    """List the newest versions of all rules in a tenant scope, also of deleted rules.

    Args:
        session: to the database.
        visible: the tenant scope of the caller.
        organisation: only rules of this organisation; None: of all in the tenant scope.
        since: only versions recorded at or after this.
        most: the highest number of versions.
    """
    query = _WITH_KEY.add_columns(Rule.site_id).join(Rule, Rule.id == RuleVersion.rule_id)
    query = query.where(RuleVersion.created_at >= since, *visible.within(Rule.organisation_id, Rule.site_id))
    if organisation is not None:
        query = query.where(Rule.organisation_id == organisation)
    order = (RuleVersion.created_at.desc(), RuleVersion.rule_id.desc(), RuleVersion.version.desc())
    rows = await session.execute(query.order_by(*order).limit(most))
    return [SiteVersion(*row) for row in rows]


async def find_version(
    session: ReadSession | WriteSession, rule_id: UUID, version: str, visible: TenantScope
) -> AuthoredVersion:
    """Read one version of a rule. The rule may be deleted.

    Args:
        session: to the database.
        rule_id: the rule.
        version: the version number as text.
        visible: the tenant scope of the caller.

    Raises:
        NotFoundError: the rule or version does not exist, or the rule is outside of the tenant scope.
    """
    await _check_visible(session, rule_id, visible)
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


async def _check_visible(session: ReadSession | WriteSession, rule_id: UUID, visible: TenantScope) -> None:
    query = select(Rule.id).where(Rule.id == rule_id)
    query = query.where(*visible.within(Rule.organisation_id, Rule.site_id))
    if await session.scalar(query) is None:
        raise NotFoundError("rule", rule_id)
