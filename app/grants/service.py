"""Creates, changes and accepts grants, in the caller's transaction."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.grants import repository
from app.grants.grant_authentication import GRANT_KEY_PREFIX
from app.grants.grant_changes import (
    CONTENT_FIELDS,
    decode_values,
    divide_change,
    encode_values,
    hash_content,
    hash_terms,
    read_content,
    read_offered_content,
)
from app.grants.granted_metrics import read_purposes_in_force
from app.grants.models import Grant, GrantAcceptance, GrantKey
from app.grants.recipient_schemas import GrantAccept
from app.grants.schemas import GrantChange, GrantCreate
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError, UnauthorisedError
from app.platform.kernel.ids import new_id
from app.platform.kernel.secret_tokens import generate_key, hash_key, is_well_formed_key, make_key_hint
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import site_repository

LINK_PREFIX: Final = "vgo_"
"""The prefix of the tokens of links to grants."""
KEYS_MAX: Final = 5
"""The most keys of a grant that work at the same time."""


class NewKey(NamedTuple):
    """A new key: its row, and the key itself."""

    row: GrantKey
    key: str


async def create_grant(
    session: WriteSession,
    body: GrantCreate,
    organisation_id: UUID,
    now: datetime,
    link_lifetime: timedelta,
) -> tuple[Grant, str]:
    """Create a grant, and return it with the token of its link.

    Raises:
        NotFoundError: A site is not one of the organisation.
        InvalidError: `expired`, `range_reversed`, `purpose_not_in_force`.
    """
    values = body.model_dump(exclude={"organisation_id"})
    _check_times(values, now)
    await _check_sites(session, organisation_id, values, now)
    grant = Grant(id=new_id(), organisation_id=organisation_id, created_at=now, updated_at=now, **values)
    token = renew_link(grant, now, link_lifetime)
    session.add(grant)
    await session.flush()
    return grant, token


def renew_link(grant: Grant, now: datetime, lifetime: timedelta) -> str:
    """Give a grant a new link, and return its token. The former link stops working.

    Raises:
        ConflictError: `grant_ended`: it was revoked or has expired.
    """
    check_not_ended(grant, now)
    token = generate_key(LINK_PREFIX)
    grant.link_hash = hash_key(token)
    grant.link_expires_at = now + lifetime
    return token


def check_not_ended(grant: Grant, now: datetime) -> None:
    """Refuse to change a grant that was revoked (ConflictError `grant_ended`).

    One that has expired can be extended only by a new grant.
    """
    state = grant.state(now)
    if state == "revoked":
        raise ConflictError("The grant was revoked. Create another one.", code="grant_ended")
    if state == "expired":
        raise ConflictError("The grant has expired. Create another one.", code="grant_ended")


def _check_times(values: Mapping[str, Any], now: datetime) -> None:
    first, last = values["covers_from"], values["covers_until"]
    if values["valid_until"] <= now:
        raise InvalidError("`valid_until` is in the past.", code="expired").at("body.valid_until")
    if first is not None and last is not None and first >= last:
        raise InvalidError("`from` must be before `until`.", code="range_reversed").at("body.from")


async def _check_sites(
    session: WriteSession, organisation_id: UUID, values: Mapping[str, Any], now: datetime
) -> None:
    """Refuse sites of others, and metrics whose purpose is not in force at each of the sites."""
    scope = TenantScope.of([organisation_id])
    sites = await site_repository.lock_sites(session, values["site_ids"], scope)
    for site_id in values["site_ids"]:
        if site_id not in sites:
            raise NotFoundError("site", site_id)
    await _check_purposes(session, organisation_id, values["site_ids"], values["metrics"], now)


async def _check_purposes(
    session: WriteSession,
    organisation_id: UUID,
    sites: Collection[UUID],
    metrics: Collection[str],
    now: datetime,
) -> None:
    """Refuse metrics whose purpose is not in force at each of the sites (InvalidError)."""
    purposes = await read_purposes_in_force(session, organisation_id, sites, now)
    for site_id in sites:
        missing = [name for name in metrics if name not in purposes.select_metrics(site_id, metrics)]
        if missing:
            needed = sorted({PURPOSE_BY_METRIC[name] for name in missing})
            raise InvalidError(
                f"The site {site_id} does not measure {', '.join(missing)} for a purpose that is declared "
                f"and in force. Declare {', '.join(needed)} there (PUT /v1/sites/{{site_id}}/purposes/…), or "
                "leave these metrics out.",
                code="purpose_not_in_force",
                extra={"site_id": str(site_id), "metrics": missing, "purposes": needed},
            )


async def change_grant(
    session: WriteSession, grant: Grant, body: GrantChange, now: datetime, link_lifetime: timedelta
) -> str | None:
    """Change a locked grant; return the token of a new link if the recipient has to accept the change.

    Raises:
        ConflictError: `grant_ended`.
        NotFoundError, InvalidError: As for a new grant; `grant_too_different`.
    """
    check_not_ended(grant, now)
    fields = collect_sent_fields(body)
    if "suspended" in fields:
        suspended = fields.pop("suspended")
        grant.suspended_at = (grant.suspended_at or now) if suspended else None
    change = {name: fields.pop(name) for name in CONTENT_FIELDS if name in fields}
    for name, value in fields.items():
        setattr(grant, name, value)
    grant.updated_at = now
    token = None
    if change:
        content = read_offered_content(grant) | change
        _check_times(content, now)
        if {"site_ids", "metrics"} & change.keys():
            await _check_sites(session, grant.organisation_id, content, now)
        token = _change_content(grant, change, now, link_lifetime)
    await session.flush()
    return token


def _change_content(
    grant: Grant, change: Mapping[str, Any], now: datetime, lifetime: timedelta
) -> str | None:
    if grant.accepted_at is None:
        for name, value in change.items():
            setattr(grant, name, value)
        return None
    divided = divide_change(read_content(grant), change)
    for name, value in divided.now.items():
        setattr(grant, name, value)
    first, last = grant.covers_from, grant.covers_until
    if first is not None and last is not None and first >= last:
        raise InvalidError(
            "The new time range has no part of the accepted one. Create another grant for it.",
            code="grant_too_different",
        )
    earlier = decode_values(grant.offered or {})
    offered = {name: value for name, value in earlier.items() if name not in change} | divided.offered
    grant.offered = encode_values(offered) or None
    return renew_link(grant, now, lifetime) if divided.offered else None


def revoke_grant(grant: Grant, now: datetime) -> None:
    """Revoke a locked grant for ever. Its keys and its link open nothing from now on."""
    if grant.revoked_at is None:
        grant.revoked_at = grant.updated_at = now
        grant.link_hash = grant.offered = None


async def find_offered_grant(session: AsyncSession, token: str | None, now: datetime, *, lock: bool) -> Grant:
    """Find the grant of a link (UnauthorisedError; `link_expired`)."""
    found = None
    if token is not None and is_well_formed_key(token, LINK_PREFIX):
        found = await repository.find_grant_by_link(session, hash_key(token), lock=lock)
    if found is None:
        raise UnauthorisedError("The link of the grant does not work any more. Ask for another one.")
    ended = found.link_expires_at is None or found.link_expires_at <= now
    if ended or found.state(now) in {"revoked", "expired"}:
        raise UnauthorisedError(
            "The link of the grant has expired. Ask for another one.", code="link_expired"
        )
    return found


async def accept_grant(
    session: WriteSession, grant: Grant, body: GrantAccept, address: str | None, now: datetime
) -> NewKey | None:
    """Accept what a locked grant offers, and create a key if there is none or a new one is wanted.

    Raises:
        ConflictError: `offer_changed`: the person read another offer than the present one.
    """
    content = read_offered_content(grant)
    content_hash = hash_content(content)
    if body.content_hash != content_hash:
        raise ConflictError("The offer has changed. Read it again.", code="offer_changed")
    for name, value in content.items():
        setattr(grant, name, value)
    grant.offered = grant.link_hash = None
    grant.accepted_at = grant.updated_at = now
    session.add(
        GrantAcceptance(
            id=new_id(),
            grant_id=grant.id,
            organisation_id=grant.organisation_id,
            accepted_at=now,
            name=body.name,
            address=address,
            terms_hash=hash_terms(content["terms"]),
            content_hash=content_hash,
            content=encode_values(content),
        )
    )
    await session.flush()
    if await repository.count_working_keys(session, grant.id) and not body.new_key:
        return None
    await repository.revoke_all_keys(session, grant.id, now)
    return await create_key(session, grant, now)


async def create_key(session: WriteSession, grant: Grant, now: datetime) -> NewKey:
    """Create a key of a locked grant (ConflictError `too_many_keys`)."""
    if await repository.count_working_keys(session, grant.id) >= KEYS_MAX:
        raise ConflictError(
            f"The grant has {KEYS_MAX} keys that work. Revoke one that is not used any more.",
            code="too_many_keys",
        )
    key = generate_key(GRANT_KEY_PREFIX)
    row = GrantKey(
        id=new_id(),
        grant_id=grant.id,
        organisation_id=grant.organisation_id,
        hint=make_key_hint(key, GRANT_KEY_PREFIX),
        hash=hash_key(key),
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return NewKey(row, key)
