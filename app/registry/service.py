"""What happens when keys and boxes are made, moved and deleted.

Works inside the caller's transaction. The broker's accounts are brought up to date by the caller, with
`app.registry.broker_password_file`, after its commit.

That no key outlives the one that makes or prolongs it, nor do persons or codes that register boxes.

That it may do no more is `app.registry.service.check_scopes_covered`, which people's roles go by too.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.platform.broker.mosquitto_hash import hash_mosquitto_password
from app.platform.config.settings import VigieSettings
from app.platform.db.database import WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.db.protocols import AlertCloser
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.principals import ALL_SCOPES, Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import box_configurations, box_repository, quota_service, repository
from app.registry.box_schemas import BULK_FAULTS, BoxChange, BoxCreate
from app.registry.models import Box, Organisation
from app.registry.retention_settings import RetentionSettings

# The accounts that are not boxes': the access rules of the broker name them. And the consumer's client id,
# where it was not changed: a listener that makes client ids of user names would hand such a box its session.
_RESERVED: Final = frozenset({"gateway", "ingest", "vigie-ingest"})
_PASSWORD_BYTES: Final = 24
_NOT_FOUND: Final = NotFoundError.status


class BoxWithPassword(NamedTuple):
    """A box that was made just now, with the only copy of its password."""

    box: Box
    password: str


async def resolve_organisation(
    session: WriteSession, principal: Principal, named: UUID | None
) -> Organisation:
    """The organisation that a new thing belongs to (NotFoundError, or InvalidError for a foreign one)."""
    identifier = principal.owner(named)
    organisation = await repository.find_organisation(session, identifier, principal.visible())
    if organisation is None:
        raise NotFoundError("organisation", identifier)
    return organisation


def check_scopes_covered(principal: Principal, scopes: Sequence[str], *, to: str = "give") -> None:
    """Refuse to give, prolong or revoke what the caller itself may not do (ForbiddenError).

    Args:
        principal: The caller.
        scopes: The key's.
        to: What is to be done with them, for people.
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
    """Refuse to limit a key to sites that are not its organisation's or its clients' (NotFoundError)."""
    if site_ids is None:
        return
    allowed = [owner.id, *await repository.list_client_ids(session, owner.id)]
    reach = TenantScope.of(filter(principal.visible().includes, allowed))
    found = await repository.lock_sites(session, site_ids, reach)
    for site_id in site_ids:
        if site_id not in found:
            raise NotFoundError("site", site_id)


def check_summary_retention(retention: RetentionSettings) -> None:
    """Refuse settings by which summaries would go before what they sum up (InvalidError)."""
    purpose = retention.short_of_samples()
    if purpose is not None:
        raise InvalidError(
            f"Summaries would go before samples of `{purpose}`: keep them for as long at least, or for ever.",
            code="summaries_before_samples",
        )


def generate_box_password() -> str:
    """A password for a box: 190 bits of chance.

    It begins with a letter or a digit: with a `-` a shell would take it for an option, a spreadsheet for a
    formula.
    """
    while not (password := secrets.token_urlsafe(_PASSWORD_BYTES))[0].isalnum():
        pass
    return password


async def add_boxes(
    session: WriteSession,
    visible: TenantScope,
    wanted: Sequence[BoxCreate],
    settings: VigieSettings,
    now: datetime,
    *,
    numbered: bool,
) -> list[BoxWithPassword]:
    """Make boxes: all of them, or none.

    Args:
        session: The transaction.
        visible: The organisation whose sites there are; None: all of them.
        wanted: The boxes.
        settings: Which account is the ingest role's own, and how many boxes there may be.
        now: The time of creation.
        numbered: Whether an error names the `index` of the box at fault, and of the others in `errors`.

    Raises:
        ConflictError: `box_exists`, `quota_exceeded`.
        NotFoundError: A site does not exist.
    """
    sites = await repository.lock_sites(session, [box.site_id for box in wanted], visible)
    seen: set[str] = set()
    faults: dict[int, ConflictError | NotFoundError] = {}
    rows: list[dict[str, Any]] = []
    passwords = [generate_box_password() for _ in wanted]
    # 0.1 ms each: a thousand of them would hold up every other request.
    hashes = await asyncio.to_thread(lambda: [hash_mosquitto_password(password) for password in passwords])
    for index, (box, password_hash) in enumerate(zip(wanted, hashes, strict=True)):
        site = sites.get(box.site_id)
        if site is None or box.organisation_id not in {None, site.organisation_id}:
            faults[index] = NotFoundError("site", box.site_id)
        elif box.id in seen or box.id in _RESERVED or box.id == settings.broker.username:
            faults[index] = _taken(box.id)
        else:
            rows.append(_row(box, site.organisation_id, password_hash, now))
        seen.add(box.id)
    added = await box_repository.add_boxes(session, rows)
    for index, box in enumerate(wanted):
        if box.id not in added and index not in faults:
            faults[index] = _taken(box.id)
    _refuse(dict(sorted(faults.items())), numbered=numbered)
    owners = Counter(box.organisation_id for box in added.values())
    await quota_service.check_quota(session, "boxes", owners, settings.quotas, visible)
    return [BoxWithPassword(added[box.id], password) for box, password in zip(wanted, passwords, strict=True)]


def _refuse(faults: Mapping[int, ConflictError | NotFoundError], *, numbered: bool) -> None:
    """Raise the first fault; with `numbered` it tells of the others too."""
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


def _taken(identifier: str) -> ConflictError:
    return ConflictError(f"The id {identifier!r} is taken. Choose another one.", code="box_exists")


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
    """Change a box that passes a check. The alerts and waits of the rules that it leaves by moving end."""
    fields = change.model_fields_set
    if "site_id" in fields:
        await close_ingest_barrier(session)
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    check(box)
    moves = "site_id" in fields and change.site_id != box.site_id
    if moves and change.site_id not in await repository.lock_sites(
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
    """Delete a box that passes a check: its alerts close, its credentials end, its id is free.

    Its samples go later.
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
    """Give a box a new password; the former one no longer works."""
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    password = generate_box_password()
    box.password_hash = hash_mosquitto_password(password)
    box.revoked_at = None
    box.updated_at = now
    return BoxWithPassword(box, password)


async def revoke_password(
    session: WriteSession, principal: Principal, identifier: str, now: datetime
) -> None:
    """Take a box's password away; the first revocation's time stands."""
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    if box.revoked_at is None:
        box.password_hash = ""
        box.revoked_at = box.updated_at = now


def check_key_has_no_expiry(principal: Principal) -> None:
    """Refuse a key that ends what would let somebody in for good (ForbiddenError `outlives_key`)."""
    if principal.expires_at is not None:
        raise ForbiddenError(
            "The API key ends, and what this gives has no end: use a key that lasts.",
            code="outlives_key",
            extra={"expires_at": principal.expires_at.isoformat()},
        )


def check_expiry_within_key(principal: Principal, key_id: UUID | None, ends: datetime | None) -> None:
    """Refuse a key, or a code that registers boxes, that would outlive the key that makes or prolongs it.

    Args:
        principal: The caller.
        key_id: The key that is changed; None for a new one, and for a code.
        ends: When it is to end; None: never.

    Raises:
        ForbiddenError: `outlives_key`.
    """
    if principal.expires_at is None or (ends is not None and ends <= principal.expires_at):
        return
    whose = "itself" if key_id == principal.key_id else "what it gives"
    raise ForbiddenError(
        f"The API key ends at {principal.expires_at.isoformat()} and cannot have {whose} last longer: give "
        "an `expires_at` no later than that, or use a key that lasts.",
        code="outlives_key",
        extra={"expires_at": principal.expires_at.isoformat()},
    )
