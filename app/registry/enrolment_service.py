"""Issues claim codes and provisioning keys, and registers boxes with them, without an API key.

Each registration is counted in the transaction that creates the box. The credentials of an existing box are
never returned. The caller updates the broker's accounts after its commit.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.platform.db.database import Database, WriteSession
from app.platform.identity import attempt_limiter
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthorisedError,
    VigieError,
)
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.kernel.secret_tokens import generate_key, hash_key, is_well_formed_key, make_key_hint
from app.platform.kernel.tenant_scope import (
    FULL_SCOPE,
    ScopedCaller,
    TenantScope,
    format_actor,
    run_as_caller,
)
from app.registry import box_service, enrolment_repository, site_repository
from app.registry.box_service import NewBoxLimits, check_expiry_within_key
from app.registry.claim_codes import generate_code, get_code_hint, hash_code, parse_code
from app.registry.enrolment_schemas import (
    ClaimCreate,
    NewBox,
    ProvisioningKeyCreate,
    Redemption,
    compute_claim_state,
)
from app.registry.models import Claim, ProvisioningKey, Site
from app.registry.prometheus_metrics import BOXES_ENROLLED
from app.registry.settings import EnrolmentSettings

KEY_PREFIX: Final = "vgp_"
_CLOSED: Final = {
    "revoked": ("claim_revoked", "The claim code was revoked. Ask for another one."),
    "used_up": ("claim_used_up", "The claim code is used up. Ask for another one."),
    "expired": ("claim_expired", "The claim code has expired. Ask for another one."),
}


class EnrolmentDisabledError(VigieError):
    """The installation does not let boxes register themselves: `enrolment.enabled` is off."""

    status = 404
    code = "enrolment_off"

    def __init__(self) -> None:
        super().__init__("Boxes cannot register themselves: VIGIE_ENROLMENT__ENABLED is off.")


class UnknownClaimError(VigieError):
    """No claim has this code."""

    status = 404
    code = "unknown_claim"

    def __init__(self) -> None:
        super().__init__("There is no such claim code. Check it, or ask for another one.")


async def _lock_site(session: WriteSession, principal: Principal, identifier: UUID) -> Site:
    found = await site_repository.lock_sites(session, [identifier], principal.visible())
    if not found:
        raise NotFoundError("site", identifier)
    return next(iter(found.values()))


async def make_claim(
    session: WriteSession, principal: Principal, new_claim: ClaimCreate, now: datetime
) -> tuple[Claim, str]:
    """Create a claim for one of the caller's sites.

    Args:
        session: The transaction.
        principal: The caller.
        new_claim: The claim.
        now: The time of creation.

    Returns:
        The claim, and the only copy of its code.

    Raises:
        NotFoundError: The site is outside the caller's tenant scope.
        ForbiddenError: `outlives_key`.
    """
    ends = now + timedelta(seconds=parse_iso_duration(new_claim.expires_in))
    check_expiry_within_key(principal, None, ends)
    site = await _lock_site(session, principal, new_claim.site_id)
    code = generate_code()
    row = Claim(
        id=new_id(),
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=new_claim.name,
        hint=get_code_hint(code),
        hash=await asyncio.to_thread(hash_code, code),
        boxes=new_claim.boxes,
        used=0,
        created_at=now,
        expires_at=ends,
    )
    session.add(row)
    await session.flush()
    return row, code


async def redeem_claim(
    database: Database,
    redemption: Redemption,
    settings: EnrolmentSettings,
    limits: NewBoxLimits,
    *,
    host: str | None,
    now: datetime,
) -> box_service.BoxWithPassword:
    """Register a box with a claim code.

    Args:
        database: The database.
        redemption: The code and the box.
        settings: The limit of attempts.
        limits: The limits on new boxes.
        host: The client's address.
        now: The time of creation.

    Raises:
        TooManyRequestsError: `too_many_attempts`, by the address or by the code.
        InvalidError: `claim_mistyped`.
        UnknownClaimError: No claim has this code.
        ConflictError: `claim_revoked`, `claim_used_up`, `claim_expired`, `box_exists`, or `quota_exceeded`.
    """
    address = make_address_subject(host)
    most, window_s = settings.attempts, settings.attempts_window_s
    await attempt_limiter.limit_attempt(database, address, most=most, window_s=window_s)
    code = parse_code(redemption.code)
    if code is None:
        raise InvalidError(
            "The claim code is mistyped. Compare it with the one that you were given.", code="claim_mistyped"
        )
    digest = await asyncio.to_thread(hash_code, code)
    subject = attempt_limiter.make_code_subject(digest)
    await attempt_limiter.limit_attempt(database, subject, most=most, window_s=window_s)
    # The tenant is known only once the claim is found.
    with run_as_caller(ScopedCaller(FULL_SCOPE, format_actor("claim", None, "claim code"))):
        async with database.write() as session:
            created = await _claim_box(session, digest, redemption, limits, now)
    await attempt_limiter.forget_attempt(database, address, subject)
    BOXES_ENROLLED.labels("claim").inc()
    return created


async def _claim_box(
    session: WriteSession, digest: bytes, new_box: NewBox, limits: NewBoxLimits, now: datetime
) -> box_service.BoxWithPassword:
    claim = await enrolment_repository.find_claim_by_hash(session, digest)
    if claim is None:
        raise UnknownClaimError
    _check_open(claim, now)
    # Lock order: the site (locked here) before the claim, as in the deletion of a site.
    (created,) = await box_service.add_boxes(
        session,
        TenantScope.of([claim.organisation_id]),
        [new_box.at(claim.site_id)],
        limits,
        now,
        numbered=False,
    )
    if not await enrolment_repository.use_claim(session, claim.id, now):
        # It was used up or revoked after it was read.
        await session.refresh(claim)
        _check_open(claim, now)
        raise UnknownClaimError
    return created


def _check_open(claim: Claim, now: datetime) -> None:
    state = compute_claim_state(claim, now)
    if state != "open":
        code, detail = _CLOSED[state]
        raise ConflictError(detail, code=code)


async def make_provisioning_key(
    session: WriteSession, principal: Principal, new_key: ProvisioningKeyCreate, now: datetime
) -> tuple[ProvisioningKey, str]:
    """Create a provisioning key for one of the caller's sites.

    Args:
        session: The transaction.
        principal: The caller.
        new_key: The provisioning key.
        now: The time of creation.

    Returns:
        The row, and the only copy of the key.

    Raises:
        NotFoundError: The site is outside the caller's tenant scope.
        ForbiddenError: `outlives_key`.
    """
    check_expiry_within_key(principal, None, new_key.expires_at)
    site = await _lock_site(session, principal, new_key.site_id)
    key = generate_key(KEY_PREFIX)
    row = ProvisioningKey(
        id=new_id(),
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=new_key.name,
        hint=make_key_hint(key, KEY_PREFIX),
        hash=hash_key(key),
        id_prefix=new_key.id_prefix,
        box_limit=new_key.limit,
        used=0,
        created_at=now,
        expires_at=new_key.expires_at,
    )
    session.add(row)
    await session.flush()
    return row, key


def check_key_grant(principal: Principal) -> None:
    """Refuse a caller that must not register boxes itself (ForbiddenError)."""
    box_service.check_scopes_covered(principal, ["sites:write"])


def check_enrolment_enabled(settings: EnrolmentSettings) -> None:
    """Refuse if boxes must not register themselves (EnrolmentDisabledError)."""
    if not settings.enabled:
        raise EnrolmentDisabledError


async def provision_box(
    database: Database, key: str | None, new_box: NewBox, limits: NewBoxLimits, now: datetime
) -> box_service.BoxWithPassword:
    """Register a box with a provisioning key.

    The caller has checked that enrolment is enabled.

    Args:
        database: The database.
        key: The provisioning key as it was sent; None: none was sent.
        new_box: The box.
        limits: The limits on new boxes.
        now: The time of creation.

    Raises:
        UnauthorisedError: There is no key, or it is not valid (`key_expired` if it has expired).
        ForbiddenError: `id_prefix`.
        ConflictError: `box_exists`, `provisioning_limit`, or `quota_exceeded`.
    """
    if key is None or not is_well_formed_key(key, KEY_PREFIX):
        raise UnauthorisedError(f"Send `Authorization: Bearer {KEY_PREFIX}…` with a provisioning key.")
    with run_as_caller(
        ScopedCaller(FULL_SCOPE, format_actor("provisioning_key", None, make_key_hint(key, KEY_PREFIX)))
    ):
        async with database.write() as session:
            created = await _provision_box(session, key, new_box, limits, now)
    BOXES_ENROLLED.labels("provisioning_key").inc()
    return created


async def _provision_box(
    session: WriteSession, key: str, new_box: NewBox, limits: NewBoxLimits, now: datetime
) -> box_service.BoxWithPassword:
    row = await enrolment_repository.find_provisioning_key_by_hash(session, hash_key(key))
    if row is None or row.revoked_at is not None:
        raise UnauthorisedError("The provisioning key is unknown or was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        raise UnauthorisedError("The provisioning key has expired.", code="key_expired")
    if not new_box.id.startswith(row.id_prefix or ""):
        raise ForbiddenError(f"The box's id must begin with {row.id_prefix!r}.", code="id_prefix")
    (created,) = await box_service.add_boxes(
        session,
        TenantScope.of([row.organisation_id]),
        [new_box.at(row.site_id)],
        limits,
        now,
        numbered=False,
    )
    if not await enrolment_repository.use_provisioning_key(session, row.id, now):
        raise ConflictError(
            "The provisioning key has reached its limit of boxes. Raise `limit`, or use another key.",
            code="provisioning_limit",
        )
    return created
