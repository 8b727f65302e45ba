"""Declares, changes, ends and approves the purposes of a site, in the caller's transaction.

A change closes the ingest barrier first, so that no batch is running when a legal basis ends. Times come from
the database's clock, as in ingest: a batch that begins after the commit of an end has a later time.

A change of a sensitive purpose is a new declaration: another person must approve it again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.audit_log_queries import find_key_creators
from app.catalogue.purposes import PURPOSES, PURPOSES_BY_NAME, Purpose, PurposeName
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import current_caller
from app.registry import site_repository
from app.registry.models import Site, SitePurpose
from app.registry.purpose_states import (
    SENSITIVE_PURPOSE_MAX_DAYS,
    exceeds_longest_duration,
    find_missing_fields,
    is_retention_weaker,
)
from app.registry.site_retention import RetentionSettings

# The creation of an integrator's key is in the integrator's audit log, outside the scope of its clients.
_RESET_SCOPE: Final = text("SELECT set_config('vigie.reach', :reach, true)")
_FULL_SCOPE: Final = text("SELECT set_config('vigie.reach', 'all', true)")


class PersonRequiredError(ForbiddenError):
    """An API key cannot do this: it does not identify a person."""

    code = "person_required"


def get_retention_settings(site: Site) -> RetentionSettings:
    """Build the retention settings from the columns of a site."""
    return RetentionSettings(
        site.retention_days, site.retention_purposes, site.summaries_days, site.retention_removes
    )


def get_purpose(name: str) -> Purpose:
    """Get a purpose of the catalogue (NotFoundError)."""
    found = next((purpose for purpose in PURPOSES if purpose.name == name), None)
    if found is None:
        raise NotFoundError("purpose", name)
    return found


async def read_site_purposes(session: AsyncSession, site: Site) -> dict[str, SitePurpose]:
    """Read the declarations of a site, by purpose."""
    rows = await session.scalars(select(SitePurpose).where(SitePurpose.site_id == site.id))
    return {row.purpose: row for row in rows}


async def find_site_purpose(
    session: AsyncSession, site: Site, purpose: Purpose, *, lock: bool = False
) -> SitePurpose | None:
    """Find a site's declaration of a purpose.

    Args:
        session: The session.
        site: The site.
        purpose: The purpose.
        lock: Lock the row until the transaction ends.
    """
    statement = select(SitePurpose).where(SitePurpose.site_id == site.id, SitePurpose.purpose == purpose.name)
    return await session.scalar(statement.with_for_update() if lock else statement)


async def read_database_clock(session: AsyncSession) -> datetime:
    """Read the database's clock."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def lock_site_purpose(
    session: WriteSession, identifier: str, name: str, principal: Principal
) -> tuple[Site, Purpose, SitePurpose | None]:
    """Close the ingest barrier, and lock a site and its declaration of a purpose.

    Args:
        session: The transaction.
        identifier: The site's id, as in the path.
        name: The name of the purpose, as in the path.
        principal: The caller.

    Raises:
        NotFoundError: The site or the purpose does not exist.
    """
    purpose = get_purpose(name)
    await site_repository.get_site(session, identifier, principal.visible())
    await close_ingest_barrier(session)
    site = await site_repository.get_site(session, identifier, principal.visible(), lock=True)
    return site, purpose, await find_site_purpose(session, site, purpose, lock=True)


def check_declaration(purpose: Purpose, row: SitePurpose, now: datetime) -> None:
    """Refuse a declaration that contradicts itself.

    Raises:
        InvalidError: `range_reversed`, `expired`, `ends_too_late`, `not_open`.
    """
    if row.ends_at is not None and row.starts_at is not None and row.ends_at <= row.starts_at:
        raise InvalidError("`ends_at` must be after `starts_at`.", code="range_reversed").at("body.ends_at")
    if row.ends_at is not None and row.ends_at <= now:
        raise InvalidError(
            "`ends_at` is in the past. To end the purpose now, use POST …/end.", code="expired"
        ).at("body.ends_at")
    if not purpose.sensitive:
        return
    if row.ends_at is not None and exceeds_longest_duration(row.ends_at, now):
        raise InvalidError(
            f"A sensitive purpose lasts {SENSITIVE_PURPOSE_MAX_DAYS} days at most. Then declare it again.",
            code="ends_too_late",
        ).at("body.ends_at")
    if row.open_data:
        raise InvalidError("Data of a sensitive purpose cannot be open.", code="not_open").at(
            "body.open_data"
        )


def _make_declaration(site: Site, purpose: Purpose, now: datetime) -> SitePurpose:
    return SitePurpose(
        site_id=site.id,
        purpose=purpose.name,
        organisation_id=site.organisation_id,
        sensitive=purpose.sensitive,
        open_data=False,
        created_at=now,
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
    """Declare a purpose, or change its declaration.

    The start never moves to an earlier time: a request for an earlier start, or none, leaves the present one
    (or now, if the present one is in the future). A purpose that had ended starts now.

    Args:
        session: The transaction.
        site: The site, locked.
        purpose: The purpose.
        row: The present declaration, locked; None: not declared yet.
        values: The new values by column.
        principal: The caller.

    Raises:
        InvalidError: As `check_declaration`.
    """
    now = await read_database_clock(session)
    is_new = row is None
    if row is None:
        row = _make_declaration(site, purpose, now)
        session.add(row)
    had_ended = row.ends_at is not None and row.ends_at <= now
    former_start = None if row.starts_at is None else min(row.starts_at, now)
    # A request that repeats the values of a default still counts as a declaration by the caller.
    confirms_default = bool(values) and row.declared_kind == "system"
    changed = (
        is_new
        or had_ended
        or confirms_default
        or any(getattr(row, name) != value for name, value in values.items())
    )
    for name, value in values.items():
        setattr(row, name, value)
    # Before the start there was no legal basis, and none can be declared afterwards.
    earliest_start = now if had_ended else former_start
    if earliest_start is not None and (row.starts_at is None or row.starts_at < earliest_start):
        row.starts_at = earliest_start
    check_declaration(purpose, row, now)
    if changed:
        row.declared_by, row.declared_kind = principal.key_id, principal.kind
        row.declared_at = row.updated_at = now
        row.approved_by = row.approved_at = None
    await session.flush()
    return row


async def end_purpose(session: WriteSession, row: SitePurpose, at: datetime | None) -> SitePurpose:
    """End a purpose now (`at` is None) or at a future time. The approval stays.

    Raises:
        ConflictError: `purpose_ended`: it has ended already.
        InvalidError: `expired`: the time is in the past; `ends_too_late`: it is later than the declared end.
    """
    now = await read_database_clock(session)
    if row.ends_at is not None and row.ends_at <= now:
        raise ConflictError("The purpose has ended already.", code="purpose_ended")
    if at is not None and at <= now:
        raise InvalidError("`at` is in the past. Leave it out to end the purpose now.", code="expired").at(
            "body.at"
        )
    if at is not None and row.ends_at is not None and at > row.ends_at:
        raise InvalidError(
            "The purpose ends before `at`. To postpone its end, use PATCH.", code="ends_too_late"
        ).at("body.at")
    row.ends_at = now if at is None else at
    if row.starts_at is not None and row.starts_at > row.ends_at:
        row.starts_at = row.ends_at
    row.updated_at = now
    await session.flush()
    return row


async def approve_purpose(
    session: WriteSession, site: Site, purpose: Purpose, row: SitePurpose, principal: Principal
) -> SitePurpose:
    """Approve a sensitive purpose. Its data are accepted from now on, or from its start on if that is later.

    Args:
        session: The transaction.
        site: The site, locked.
        purpose: The purpose.
        row: The declaration, locked.
        principal: The caller.

    Raises:
        ForbiddenError: `person_required`: a key does not identify a person. `limited_to_sites`.
        ConflictError: `approval_not_needed`, `purpose_ended`, `same_person`, `purpose_incomplete` (see
            `find_missing_fields`).
    """
    if principal.kind != "user":
        raise PersonRequiredError(
            "An API key cannot approve a purpose, since it does not identify a person. Sign in as a person."
        )
    principal.check_whole()
    now = await read_database_clock(session)
    if not purpose.sensitive:
        raise ConflictError("This purpose needs no approval.", code="approval_not_needed")
    if row.ends_at is not None and row.ends_at <= now:
        raise ConflictError("The purpose has ended. Declare it again first.", code="purpose_ended")
    missing = find_missing_fields(purpose, row, get_retention_settings(site))
    if missing:
        named = ", ".join(dict.fromkeys(each.field for each in missing))
        raise ConflictError(
            f"The declaration is incomplete: {named}. `missing` names the request that sets each field.",
            code="purpose_incomplete",
            extra={"missing": [{"field": e.field, "detail": e.detail, "where": e.where} for e in missing]},
        )
    if row.approved_at is not None:
        return row
    if principal.key_id in await _find_declarers(session, row):
        raise ConflictError(
            "You declared this purpose and cannot approve it. Ask a second person.", code="same_person"
        )
    row.approved_by, row.approved_at, row.updated_at = principal.key_id, now, now
    if row.starts_at is None or row.starts_at < now:
        row.starts_at = now
    await session.flush()
    return row


async def _find_declarers(session: AsyncSession, row: SitePurpose) -> set[UUID]:
    """Find the declaring person, or the declaring key and its creators according to the audit log."""
    if row.declared_by is None:
        return set()
    if row.declared_kind != "key":
        return {row.declared_by}
    await session.execute(_FULL_SCOPE)
    found = await find_key_creators(session, row.declared_by)
    await session.execute(_RESET_SCOPE, {"reach": current_caller().settings()["vigie.reach"]})
    return {row.declared_by, *map(UUID, found)}


async def revoke_weakened_approvals(session: WriteSession, site: Site, before: RetentionSettings) -> None:
    """Revoke the approval of sensitive purposes for which the site's new retention is longer.

    The caller must have closed the ingest barrier before it locked the site, so that no running batch relies
    on an approval.
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
