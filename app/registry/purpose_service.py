"""What happens when a site's purposes are declared, changed, ended and approved.

Works inside the caller's transaction, and closes the gate first: no batch is under way while a basis goes.
Times are the database's, as the doors' are: what begins after an end is committed is later than that end.

Whoever changes what a sensitive purpose says has declared it anew: it has to be approved by another person.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.purposes import PURPOSES, PURPOSES_BY_NAME, Purpose, PurposeName
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import current_caller
from app.registry import repository
from app.registry.models import Site, SitePurpose
from app.registry.purpose_states import (
    SENSITIVE_PURPOSE_MAX_DAYS,
    exceeds_longest_duration,
    find_missing_fields,
    is_retention_weaker,
)
from app.registry.retention_settings import RetentionSettings

# Who made a key, and who made the key that made it: people are at the beginning.
_MAKERS: Final = text("""
WITH RECURSIVE makers (id) AS (
    SELECT CAST(:key AS text)
    UNION
    SELECT a.actor_id FROM makers m JOIN audit_log a ON a.subject_kind = 'api_key'
        AND a.subject_ids @> ARRAY[m.id] AND a.action = 'api_key.created' AND a.actor_id IS NOT NULL
)
SELECT id FROM makers
""")
# An integrator's key is in the integrator's log, which its clients' people do not see: who made it counts.
_NARROW: Final = text("SELECT set_config('vigie.reach', :reach, true)")
_WIDEN: Final = text("SELECT set_config('vigie.reach', 'all', true)")


class PersonRequiredError(ForbiddenError):
    """A key cannot do it: it is nobody in particular."""

    code = "person_required"


def get_retention_settings(site: Site) -> RetentionSettings:
    """What a site has set."""
    return RetentionSettings(
        site.retention_days, site.retention_purposes, site.summaries_days, site.retention_removes
    )


async def get_site(
    session: AsyncSession, identifier: str, principal: Principal, *, lock: bool = False
) -> Site:
    """One site (NotFoundError)."""
    row = await repository.find_site(session, parse_id(identifier, "site"), principal.visible(), lock=lock)
    if row is None:
        raise NotFoundError("site", identifier)
    return row


def get_purpose(name: str) -> Purpose:
    """A purpose of the catalogue (NotFoundError)."""
    found = next((purpose for purpose in PURPOSES if purpose.name == name), None)
    if found is None:
        raise NotFoundError("purpose", name)
    return found


async def read_site_purposes(session: AsyncSession, site: Site) -> dict[str, SitePurpose]:
    """What a site has declared, by purpose."""
    rows = await session.scalars(select(SitePurpose).where(SitePurpose.site_id == site.id))
    return {row.purpose: row for row in rows}


async def find_site_purpose(
    session: AsyncSession, site: Site, purpose: Purpose, *, lock: bool = False
) -> SitePurpose | None:
    """What a site has declared of a purpose."""
    statement = select(SitePurpose).where(SitePurpose.site_id == site.id, SitePurpose.purpose == purpose.name)
    return await session.scalar(statement.with_for_update() if lock else statement)


async def read_database_clock(session: AsyncSession) -> datetime:
    """The database's clock."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def lock_site_purpose(
    session: WriteSession, identifier: str, name: str, principal: Principal
) -> tuple[Site, Purpose, SitePurpose | None]:
    """Lock what is to be changed: the site, and what it has declared.

    Raises:
        NotFoundError: there is no such site, or no such purpose.
    """
    purpose = get_purpose(name)
    await get_site(session, identifier, principal)
    await close_ingest_barrier(session)
    site = await get_site(session, identifier, principal, lock=True)
    return site, purpose, await find_site_purpose(session, site, purpose, lock=True)


def check_declaration(purpose: Purpose, row: SitePurpose, now: datetime) -> None:
    """Refuse a declaration that contradicts itself.

    Raises:
        InvalidError: `range_reversed`, `expired`, `ends_too_late`, `not_open`.
    """
    if row.ends_at is not None and row.starts_at is not None and row.ends_at <= row.starts_at:
        raise InvalidError("`ends_at` must be after `starts_at`.", code="range_reversed").at("body.ends_at")
    if row.ends_at is not None and row.ends_at <= now:
        raise InvalidError("`ends_at` has passed. To end a purpose: POST …/end.", code="expired").at(
            "body.ends_at"
        )
    if not purpose.sensitive:
        return
    if row.ends_at is not None and exceeds_longest_duration(row.ends_at, now):
        raise InvalidError(
            f"A sensitive purpose lasts {SENSITIVE_PURPOSE_MAX_DAYS} days at most: it is declared anew then.",
            code="ends_too_late",
        ).at("body.ends_at")
    if row.open_data:
        raise InvalidError("Data of a sensitive purpose are never open.", code="not_open").at(
            "body.open_data"
        )


async def declare_purpose(
    session: WriteSession,
    site: Site,
    purpose: Purpose,
    row: SitePurpose | None,
    *,
    values: Mapping[str, Any],
    principal: Principal,
) -> SitePurpose:
    """Declare a purpose, or change what was declared.

    Of one that had ended nothing is taken that was measured before it was declared anew. A beginning is never
    put back: where an earlier one, or none, is asked for, the former stays, or now where that lies ahead.

    Raises:
        InvalidError: as `check_declaration` does.
    """
    now = await read_database_clock(session)
    is_new = row is None
    if row is None:
        row = SitePurpose(
            site_id=site.id,
            purpose=purpose.name,
            organisation_id=site.organisation_id,
            sensitive=purpose.sensitive,
            open_data=False,
            created_at=now,
        )
        session.add(row)
    had_ended = row.ends_at is not None and row.ends_at <= now
    begun = None if row.starts_at is None else min(row.starts_at, now)
    # Whoever says of a default just what it says has declared it all the same.
    adopted = bool(values) and row.declared_kind == "system"
    changed = (
        is_new or had_ended or adopted or any(getattr(row, name) != value for name, value in values.items())
    )
    for name, value in values.items():
        setattr(row, name, value)
    # Before it began there was no basis, and no later word makes one: not by a second PUT either.
    floor = now if had_ended else begun
    if floor is not None and (row.starts_at is None or row.starts_at < floor):
        row.starts_at = floor
    check_declaration(purpose, row, now)
    if changed:
        row.declared_by, row.declared_kind = principal.key_id, principal.kind
        row.declared_at = row.updated_at = now
        row.approved_by = row.approved_at = None
    await session.flush()
    return row


async def end_purpose(session: WriteSession, row: SitePurpose, at: datetime | None) -> SitePurpose:
    """End a purpose, now or at a time to come; the approval stays.

    Raises:
        ConflictError: `purpose_ended`: it has ended already.
        InvalidError: `expired`, `ends_too_late`: the time has passed, or is later than it ends anyway.
    """
    now = await read_database_clock(session)
    if row.ends_at is not None and row.ends_at <= now:
        raise ConflictError("It has ended already.", code="purpose_ended")
    if at is not None and at <= now:
        raise InvalidError("`at` has passed. Leave it out to end it now.", code="expired").at("body.at")
    if at is not None and row.ends_at is not None and at > row.ends_at:
        raise InvalidError("It ends sooner. An end is put off by PATCH.", code="ends_too_late").at("body.at")
    row.ends_at = now if at is None else at
    if row.starts_at is not None and row.starts_at > row.ends_at:
        row.starts_at = row.ends_at
    row.updated_at = now
    await session.flush()
    return row


async def approve_purpose(
    session: WriteSession, site: Site, purpose: Purpose, row: SitePurpose, principal: Principal
) -> SitePurpose:
    """Approve a sensitive purpose: from now on its data are taken, or from its beginning on.

    Raises:
        ForbiddenError: `person_required`: a key is nobody in particular. `limited_to_sites`.
        ConflictError: `approval_not_needed`, `purpose_ended`, `purpose_incomplete` (`find_missing_fields`
        says what),
            `same_person`.
    """
    if principal.kind != "user":
        raise PersonRequiredError("Only a person who signed in can approve: a key is nobody in particular.")
    principal.check_whole()
    now = await read_database_clock(session)
    if not purpose.sensitive:
        raise ConflictError("This purpose needs no approval.", code="approval_not_needed")
    if row.ends_at is not None and row.ends_at <= now:
        raise ConflictError("It has ended. Declare it anew first.", code="purpose_ended")
    lacking = find_missing_fields(purpose, row, get_retention_settings(site))
    if lacking:
        named = ", ".join(dict.fromkeys(each.field for each in lacking))
        raise ConflictError(
            f"It lacks: {named}. `find_missing_fields` says where each is set.",
            code="purpose_incomplete",
            extra={"missing": [{"field": e.field, "detail": e.detail, "where": e.where} for e in lacking]},
        )
    if row.approved_at is not None:
        return row
    if principal.key_id in await _declarers(session, row):
        raise ConflictError("Whoever declared it cannot approve it: ask a second person.", code="same_person")
    row.approved_by, row.approved_at, row.updated_at = principal.key_id, now, now
    if row.starts_at is None or row.starts_at < now:
        row.starts_at = now
    await session.flush()
    return row


async def _declarers(session: AsyncSession, row: SitePurpose) -> set[UUID]:
    """Who declared it: a person, or a key and whoever made that, as far as the audit log tells."""
    if row.declared_by is None:
        return set()
    if row.declared_kind != "key":
        return {row.declared_by}
    await session.execute(_WIDEN)
    found = (await session.execute(_MAKERS, {"key": str(row.declared_by)})).scalars().all()
    await session.execute(_NARROW, {"reach": current_caller().settings()["vigie.reach"]})
    return {row.declared_by, *map(UUID, found)}


async def revoke_weakened_approvals(session: WriteSession, site: Site, before: RetentionSettings) -> None:
    """Take the approval of those sensitive purposes away whose data the site would keep longer now.

    The caller has closed the gate, before it locked the site: no batch is under way that knows the approval.
    """
    after = get_retention_settings(site)
    names: list[PurposeName] = [
        name
        for name, each in PURPOSES_BY_NAME.items()
        if each.sensitive and is_retention_weaker(each, before, after)
    ]
    if not names:
        return
    rows = await session.scalars(
        select(SitePurpose)
        .where(
            SitePurpose.site_id == site.id,
            SitePurpose.purpose.in_(names),
            SitePurpose.approved_at.is_not(None),
        )
        .with_for_update()
    )
    for row in rows:
        row.approved_by = row.approved_at = None
        row.updated_at = await read_database_clock(session)
    await session.flush()
