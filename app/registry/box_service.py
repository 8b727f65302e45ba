"""Creates, changes and deletes boxes in the caller's transaction, and checks the rights of the caller.

A caller cannot grant scopes that it lacks (`check_scopes_covered`, also used for the roles of people), nor
make a key, a code or a member that outlives its own key. After the commit the caller updates the broker's
accounts with `app.registry.broker_password_file`.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.platform.broker.mosquitto_password_hash import hash_mosquitto_password
from app.platform.db.alert_closer_protocol import AlertCloser
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.caller_authentication import ALL_SCOPES, Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import (
    box_configurations,
    box_repository,
    organisation_repository,
    quota_service,
    site_repository,
)
from app.registry.box_schemas import BULK_FAULTS, BoxChange, BoxCreate
from app.registry.models import Box, Organisation
from app.registry.settings import QuotaSettings
from app.registry.site_retention import RetentionSettings

# The accounts that the broker's access rules name, and the consumer's default client id: a listener that uses
# user names as client ids would give a box of that name the consumer's session.
RESERVED_BOX_IDS: Final = frozenset({"gateway", "ingest", "vigie-ingest"})
"""Ids that no box may have."""
_PASSWORD_BYTES: Final = 24
_NOT_FOUND: Final = NotFoundError.status


class BoxWithPassword(NamedTuple):
    """A new box, with the only copy of its password."""

    box: Box
    password: str


async def resolve_organisation(
    session: WriteSession, principal: Principal, named: UUID | None
) -> Organisation:
    """Find the organisation of a new resource (NotFoundError; InvalidError for another organisation)."""
    identifier = principal.owner(named)
    organisation = await organisation_repository.find_organisation(session, identifier, principal.visible())
    if organisation is None:
        raise NotFoundError("organisation", identifier)
    return organisation


def check_scopes_covered(principal: Principal, scopes: Sequence[str], *, to: str = "give") -> None:
    """Refuse to give, extend or revoke scopes that the caller lacks (ForbiddenError).

    Args:
        principal: The caller.
        scopes: The scopes of the key or the role.
        to: The verb of the error text.
    """
    lacking = (
        [] if ALL_SCOPES in principal.scopes else [scope for scope in scopes if not principal.may(scope)]
    )
    if lacking:
        raise ForbiddenError(
            f"{principal.called} cannot {to} what it lacks: {', '.join(lacking)}.", extra={"scopes": lacking}
        )


async def check_key_sites(
    session: WriteSession, principal: Principal, owner: Organisation, site_ids: Sequence[UUID] | None
) -> None:
    """Refuse to limit a key to sites outside its organisation and its clients.

    Args:
        session: The transaction.
        principal: The caller.
        owner: The organisation of the key.
        site_ids: The sites; None: no limit.

    Raises:
        NotFoundError: A site does not exist, or is outside.
    """
    if site_ids is None:
        return
    allowed = [owner.id, *await organisation_repository.list_client_ids(session, owner.id)]
    scope = TenantScope.of(filter(principal.visible().includes, allowed))
    found = await site_repository.lock_sites(session, site_ids, scope)
    for site_id in site_ids:
        if site_id not in found:
            raise NotFoundError("site", site_id)


def check_summary_retention(retention: RetentionSettings) -> None:
    """Refuse settings by which summaries would be removed before their samples (InvalidError)."""
    purpose = retention.short_of_samples()
    if purpose is not None:
        raise InvalidError(
            f"Summaries would be removed before samples of `{purpose}`. Store them at least as long, or for "
            f"ever.",
            code="summaries_before_samples",
        )


def generate_box_password() -> str:
    """Generate a password for a box, with 190 bits of entropy.

    It begins with a letter or a digit: a leading `-` would be an option in a shell, and a formula in a
    spreadsheet.
    """
    while not (password := secrets.token_urlsafe(_PASSWORD_BYTES))[0].isalnum():
        pass
    return password


class NewBoxLimits(NamedTuple):
    """The settings of the installation that limit new boxes.

    Attributes:
        broker_username: Vigie's own account at the broker, which no box may have.
        quotas: The default quotas.
    """

    broker_username: str
    quotas: QuotaSettings


async def add_boxes(
    session: WriteSession,
    visible: TenantScope,
    new_boxes: Sequence[BoxCreate],
    limits: NewBoxLimits,
    now: datetime,
    *,
    numbered: bool,
) -> list[BoxWithPassword]:
    """Create boxes. If one is refused, none is created.

    Args:
        session: The transaction.
        visible: The tenant scope of the sites.
        new_boxes: The boxes.
        limits: The reserved broker account, and the default quotas.
        now: The time of creation.
        numbered: Whether an error has the `index` of the refused box, and the other faults in `errors`.

    Raises:
        ConflictError: `box_exists`, `quota_exceeded`.
        NotFoundError: A site does not exist.
    """
    sites = await site_repository.lock_sites(session, [box.site_id for box in new_boxes], visible)
    seen: set[str] = set()
    faults: dict[int, ConflictError | NotFoundError] = {}
    rows: list[dict[str, Any]] = []
    passwords = [generate_box_password() for _ in new_boxes]
    # In a thread: hashing takes 0.1 ms each, and a thousand would block other requests.
    hashes = await asyncio.to_thread(lambda: [hash_mosquitto_password(password) for password in passwords])
    for index, (box, password_hash) in enumerate(zip(new_boxes, hashes, strict=True)):
        site = sites.get(box.site_id)
        if site is None or box.organisation_id not in {None, site.organisation_id}:
            faults[index] = NotFoundError("site", box.site_id)
        elif box.id in seen or box.id in RESERVED_BOX_IDS or box.id == limits.broker_username:
            faults[index] = _make_taken_error(box.id)
        else:
            rows.append(_row(box, site.organisation_id, password_hash, now))
        seen.add(box.id)
    added = await box_repository.add_boxes(session, rows)
    for index, box in enumerate(new_boxes):
        if box.id not in added and index not in faults:
            faults[index] = _make_taken_error(box.id)
    _raise_faults(dict(sorted(faults.items())), numbered=numbered)
    owners = Counter(box.organisation_id for box in added.values())
    await quota_service.check_quota(session, "boxes", owners, limits.quotas, visible)
    return [
        BoxWithPassword(added[box.id], password) for box, password in zip(new_boxes, passwords, strict=True)
    ]


def _raise_faults(faults: Mapping[int, ConflictError | NotFoundError], *, numbered: bool) -> None:
    """Raise the first fault; with `numbered` it lists the others too."""
    if not faults:
        return
    first, error = next(iter(faults.items()))
    if numbered:
        error.extra["index"] = first
        error.extra["errors"] = [
            {"index": index, "field": "site_id" if fault.status == _NOT_FOUND else "id"}
            | {"code": fault.code, "detail": fault.detail}
            for index, fault in islice(faults.items(), BULK_FAULTS)
        ]
        error.extra["errors_omitted"] = max(0, len(faults) - BULK_FAULTS)
        error.detail = f"boxes.{first}: {error.detail}"
    raise error


def _make_taken_error(identifier: str) -> ConflictError:
    return ConflictError(f"The box id {identifier!r} is taken. Choose another one.", code="box_exists")


def _row(box: BoxCreate, organisation_id: UUID, password_hash: str, now: datetime) -> dict[str, Any]:
    return {
        "id": box.id,
        "organisation_id": organisation_id,
        "site_id": box.site_id,
        "name": box.name,
        "longitude": box.location.longitude if box.location else None,
        "latitude": box.location.latitude if box.location else None,
        "interval_s": box.interval_s,
        "ack": box.ack,
        "kind": box.kind,
        "tags": box.tags,
        "attributes": box.attributes,
        "password_hash": password_hash,
        "created_at": now,
        "updated_at": now,
    }


async def change_box(
    session: WriteSession,
    principal: Principal,
    identifier: str,
    change: BoxChange,
    *,
    close_alerts: AlertCloser,
    now: datetime,
    check: Callable[[Box], None] = skip_precondition,
) -> None:
    """Change a box. If it moves to another site, its alerts and rule states are closed.

    Args:
        session: The transaction.
        principal: The caller.
        identifier: The box id.
        change: The fields to change.
        close_alerts: Closes the alerts of boxes.
        now: The time of the change.
        check: Checks the precondition (`If-Match`) on the locked box.

    Raises:
        NotFoundError: The box or the new site does not exist.
    """
    fields = change.model_fields_set
    if "site_id" in fields:
        await close_ingest_barrier(session)
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    check(box)
    moves = "site_id" in fields and change.site_id != box.site_id
    if moves and change.site_id not in await site_repository.lock_sites(
        session, [change.site_id], TenantScope.of([box.organisation_id], principal.visible().sites)
    ):
        raise NotFoundError("site", change.site_id)
    if "location" in fields:
        box.longitude = change.location.longitude if change.location else None
        box.latitude = change.location.latitude if change.location else None
    for name in fields - {"location"}:
        setattr(box, name, getattr(change, name))
    if fields:
        box.updated_at = now
    if moves:
        await session.flush()
        await close_alerts(session, reason="box_moved", now=now, box_keys=[box.key])


async def delete_box(
    session: WriteSession,
    principal: Principal,
    identifier: str,
    close_alerts: AlertCloser,
    now: datetime,
    *,
    check: Callable[[Box], None] = skip_precondition,
) -> None:
    """Delete a box: close its alerts, remove its credentials, and free its id. Samples are purged later.

    Args:
        session: The transaction.
        principal: The caller.
        identifier: The box id.
        close_alerts: Closes the alerts of boxes.
        now: The time of the deletion.
        check: Checks the precondition (`If-Match`) on the locked box.
    """
    await close_ingest_barrier(session)
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    check(box)
    await box_repository.mark_boxes_deleted(session, [box.key], now)
    await box_configurations.clear_desired_config(session, [box.key], now)
    await close_alerts(session, reason="box_deleted", now=now, box_keys=[box.key])


async def rotate_password(
    session: WriteSession, principal: Principal, identifier: str, now: datetime
) -> BoxWithPassword:
    """Rotate the password of a box: the previous one no longer works.

    Args:
        session: The transaction.
        principal: The caller.
        identifier: The box id.
        now: The time of the change.
    """
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    password = generate_box_password()
    box.password_hash = hash_mosquitto_password(password)
    box.revoked_at = None
    box.updated_at = now
    return BoxWithPassword(box, password)


async def revoke_password(
    session: WriteSession, principal: Principal, identifier: str, now: datetime
) -> None:
    """Revoke the password of a box. If it is revoked already, the time of revocation stays.

    Args:
        session: The transaction.
        principal: The caller.
        identifier: The box id.
        now: The time of the revocation.
    """
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    if box.revoked_at is None:
        box.password_hash = ""
        box.revoked_at = box.updated_at = now


def check_key_has_no_expiry(principal: Principal) -> None:
    """Refuse a key with an expiry to grant unlimited access (ForbiddenError `outlives_key`)."""
    if principal.expires_at is not None:
        raise ForbiddenError(
            "The API key expires, but this grants access without an expiry. Use a key that does not expire.",
            code="outlives_key",
            extra={"expires_at": principal.expires_at.isoformat()},
        )


def check_expiry_within_key(principal: Principal, key_id: UUID | None, ends: datetime | None) -> None:
    """Refuse a key or a claim code that would expire after the caller's key.

    Args:
        principal: The caller.
        key_id: The key that is changed; None for a new key or a code.
        ends: The expiry of the key or the code; None: never.

    Raises:
        ForbiddenError: `outlives_key`.
    """
    if principal.expires_at is None or (ends is not None and ends <= principal.expires_at):
        return
    what = "its own expiry" if key_id == principal.key_id else "access"
    raise ForbiddenError(
        f"The API key expires at {principal.expires_at.isoformat()} and cannot extend {what} beyond that. "
        "Give an earlier `expires_at`, or use a key that does not expire.",
        code="outlives_key",
        extra={"expires_at": principal.expires_at.isoformat()},
    )
