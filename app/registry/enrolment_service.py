"""How boxes are registered by somebody without an API key: with a claim code, or a provisioning key.

Decides who gets in, and counts it in the transaction that makes the box. Never gives credentials of a box
that is there already. The broker's accounts are brought up to date by the caller, after its commit.

Claim codes: short enough to be read out at the foot of a lamp post. Pure: no database, no clock.

Eleven characters of chance (54 bits) and one that checks them, in groups of four: `7Q4F-K9MX-2HTC`. The 31
characters leave out those that are taken for others (0 and O, 1, I and L). Their number is a prime, so the
check notices every single wrong character and every two that changed places.

What is stored of a code is slow to compute (a few milliseconds): from a stolen table a code cannot be found
before it has expired.
"""

import asyncio
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.platform.config.settings import VigieSettings
from app.platform.db.database import Database, WriteSession
from app.platform.identity import attempt_limiter
from app.platform.identity.principals import Principal
from app.platform.kernel.api_keys import generate_key, hash_key, is_well_formed_key, make_key_hint
from app.platform.kernel.client_addresses import make_address_subject
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
from app.platform.kernel.tenant_scope import (
    FULL_SCOPE,
    ScopedCaller,
    TenantScope,
    format_actor,
    run_as_caller,
)
from app.platform.observability.metrics_and_logs import BOXES_ENROLLED
from app.registry import enrolment_repository, repository, service
from app.registry.enrolment_schemas import (
    ClaimCreate,
    NewBox,
    ProvisioningKeyCreate,
    Redemption,
    compute_claim_state,
)
from app.registry.models import Claim, ProvisioningKey, Site
from app.registry.service import check_expiry_within_key

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
LENGTH: Final = 12
_GROUP: Final = 4
_SHOWN: Final = 2
_ROUNDS: Final = 10_000
_SALT: Final = b"vigie claim code"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def _check(body: str) -> str:
    return ALPHABET[sum(weight * _VALUES[c] for weight, c in enumerate(body, 1)) % len(ALPHABET)]


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, LENGTH, _GROUP))


def generate_code() -> str:
    """A new code, as it is shown once."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))
    return _grouped(body + _check(body))


def parse_code(text: str) -> str | None:
    """The code that somebody typed, whatever its case, spaces and hyphens; None where it cannot be one."""
    code = "".join(text.split()).replace("-", "").upper()
    if len(code) != LENGTH or any(character not in _VALUES for character in code):
        return None
    return _grouped(code) if _check(code[:-1]) == code[-1] else None


def hash_code(code: str) -> bytes:
    """What is stored of a code as `generate_code` and `parse_code` give it (32 bytes)."""
    return hashlib.pbkdf2_hmac("sha256", code.encode(), _SALT, _ROUNDS)


def get_code_hint(code: str) -> str:
    """The beginning of a code, enough to tell one's codes apart in a list."""
    return code[:_SHOWN]


KEY_PREFIX: Final = "vgp_"
_CLOSED: Final = {
    "revoked": ("claim_revoked", "This code was revoked. Ask for another one."),
    "used_up": ("claim_used_up", "This code has registered as many boxes as it was made for."),
    "expired": ("claim_expired", "This code has expired. Ask for another one."),
}


class EnrolmentDisabledError(VigieError):
    """Boxes do not register themselves here: `enrolment.enabled` is off."""

    status = 404
    code = "enrolment_off"

    def __init__(self) -> None:
        super().__init__("Boxes cannot register themselves here: VIGIE_ENROLMENT__ENABLED is off.")


class UnknownClaimError(VigieError):
    """No claim has this code."""

    status = 404
    code = "unknown_claim"

    def __init__(self) -> None:
        super().__init__("There is no such claim code. Check it, or ask for another one.")


async def _site(session: WriteSession, principal: Principal, identifier: UUID) -> Site:
    found = await repository.lock_sites(session, [identifier], principal.visible())
    if not found:
        raise NotFoundError("site", identifier)
    return next(iter(found.values()))


async def make_claim(
    session: WriteSession, principal: Principal, wanted: ClaimCreate, now: datetime
) -> tuple[Claim, str]:
    """Make a claim for one of the caller's sites. Returns the only copy of its code too.

    Raises:
        NotFoundError: The caller sees no such site.
        ForbiddenError: `outlives_key`.
    """
    ends = now + timedelta(seconds=parse_iso_duration(wanted.expires_in))
    check_expiry_within_key(principal, None, ends)
    site = await _site(session, principal, wanted.site_id)
    code = generate_code()
    row = Claim(
        id=new_id(),
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=wanted.name,
        hint=get_code_hint(code),
        hash=await asyncio.to_thread(hash_code, code),
        boxes=wanted.boxes,
        used=0,
        created_at=now,
        expires_at=ends,
    )
    session.add(row)
    await session.flush()
    return row, code


async def redeem_claim(
    database: Database, wanted: Redemption, settings: VigieSettings, *, host: str | None, now: datetime
) -> service.BoxWithPassword:
    """Register a box with a claim code.

    Args:
        database: Where.
        wanted: The code and the box.
        settings: How many attempts there are, and which account is the ingest role's own.
        host: The address that the request came from.
        now: The time of creation.

    Raises:
        TooManyRequestsError: `too_many_attempts`, of the address or of the code.
        InvalidError: `claim_mistyped`.
        UnknownClaimError: No claim has this code.
        ConflictError: `claim_revoked`, `claim_used_up`, `claim_expired`, `box_exists`, or `quota_exceeded`.
    """
    address = make_address_subject(host)
    limits = settings.enrolment
    most, window_s = limits.attempts, limits.attempts_window_s
    await attempt_limiter.limit_attempt(database, address, most=most, window_s=window_s)
    code = parse_code(wanted.code)
    if code is None:
        raise InvalidError(
            "The code is mistyped: compare it with what was written down.", code="claim_mistyped"
        )
    digest = await asyncio.to_thread(hash_code, code)
    subject = attempt_limiter.make_code_subject(digest)
    await attempt_limiter.limit_attempt(database, subject, most=most, window_s=window_s)
    # Whose site it is only the claim says.
    with run_as_caller(ScopedCaller(FULL_SCOPE, format_actor("claim", None, "claim code"))):
        async with database.write() as session:
            made = await _claim_box(session, digest, wanted, settings, now)
    await attempt_limiter.forget_attempt(database, address, subject)
    BOXES_ENROLLED.labels("claim").inc()
    return made


async def _claim_box(
    session: WriteSession, digest: bytes, wanted: NewBox, settings: VigieSettings, now: datetime
) -> service.BoxWithPassword:
    claim = await enrolment_repository.find_claim_by_hash(session, digest)
    if claim is None:
        raise UnknownClaimError
    _check_open(claim, now)
    # The site's lock, which this takes, comes before the claim's: so does whoever deletes the site.
    (made,) = await service.add_boxes(
        session,
        TenantScope.of([claim.organisation_id]),
        [wanted.at(claim.site_id)],
        settings,
        now,
        numbered=False,
    )
    if not await enrolment_repository.use_claim(session, claim.id, now):
        # Others used it up, or it was revoked, after it was read.
        await session.refresh(claim)
        _check_open(claim, now)
        raise UnknownClaimError
    return made


def _check_open(claim: Claim, now: datetime) -> None:
    state = compute_claim_state(claim, now)
    if state != "open":
        code, detail = _CLOSED[state]
        raise ConflictError(detail, code=code)


async def make_provisioning_key(
    session: WriteSession, principal: Principal, wanted: ProvisioningKeyCreate, now: datetime
) -> tuple[ProvisioningKey, str]:
    """Make a provisioning key for one of the caller's sites. Returns the key too.

    Raises:
        NotFoundError: The caller sees no such site.
        ForbiddenError: `outlives_key`.
    """
    check_expiry_within_key(principal, None, wanted.expires_at)
    site = await _site(session, principal, wanted.site_id)
    key = generate_key(KEY_PREFIX)
    row = ProvisioningKey(
        id=new_id(),
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=wanted.name,
        hint=make_key_hint(key, KEY_PREFIX),
        hash=hash_key(key),
        id_prefix=wanted.id_prefix,
        box_limit=wanted.limit,
        used=0,
        created_at=now,
        expires_at=wanted.expires_at,
    )
    session.add(row)
    await session.flush()
    return row, key


def check_key_grant(principal: Principal) -> None:
    """Refuse a provisioning key to whoever may not register boxes itself (ForbiddenError)."""
    service.check_scopes_covered(principal, ["sites:write"])


def check_enrolment_enabled(settings: VigieSettings) -> None:
    """Refuse where boxes do not register themselves (EnrolmentOffError)."""
    if not settings.enrolment.enabled:
        raise EnrolmentDisabledError


async def provision_box(
    database: Database, key: str | None, wanted: NewBox, settings: VigieSettings, now: datetime
) -> service.BoxWithPassword:
    """Register a box with a provisioning key.

    Raises:
        EnrolmentOffError: It is off.
        UnauthorisedError: No key, or not a valid one (`key_expired` where its end has passed).
        ForbiddenError: `id_prefix`.
        ConflictError: `box_exists`, `provisioning_limit`, or `quota_exceeded`.
    """
    check_enrolment_enabled(settings)
    if key is None or not is_well_formed_key(key, KEY_PREFIX):
        raise UnauthorisedError(f"Send `Authorization: Bearer {KEY_PREFIX}…` with a provisioning key.")
    with run_as_caller(
        ScopedCaller(FULL_SCOPE, format_actor("provisioning_key", None, make_key_hint(key, KEY_PREFIX)))
    ):
        async with database.write() as session:
            made = await _provision_box(session, key, wanted, settings, now)
    BOXES_ENROLLED.labels("provisioning_key").inc()
    return made


async def _provision_box(
    session: WriteSession, key: str, wanted: NewBox, settings: VigieSettings, now: datetime
) -> service.BoxWithPassword:
    row = await enrolment_repository.find_provisioning_key_by_hash(session, hash_key(key))
    if row is None or row.revoked_at is not None:
        raise UnauthorisedError("The provisioning key is unknown or was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        raise UnauthorisedError("The provisioning key has expired.", code="key_expired")
    if not wanted.id.startswith(row.id_prefix or ""):
        raise ForbiddenError(f"The box's id must begin with {row.id_prefix!r}.", code="id_prefix")
    (made,) = await service.add_boxes(
        session,
        TenantScope.of([row.organisation_id]),
        [wanted.at(row.site_id)],
        settings,
        now,
        numbered=False,
    )
    if not await enrolment_repository.use_provisioning_key(session, row.id, now):
        raise ConflictError(
            "The provisioning key has registered as many boxes as it may.", code="provisioning_limit"
        )
    return made
