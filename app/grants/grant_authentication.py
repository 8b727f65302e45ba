"""Authenticates callers by the key of a grant, and computes what they may read now.

A lookup is valid for a second at most, even if the notification of a change is lost: a revoked grant opens
nothing after that.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, select

from app.grants.granted_metrics import read_purposes_in_force
from app.grants.models import Grant, GrantKey
from app.platform.db.database import Database
from app.platform.identity.api_keys import select_integrator_id
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.secret_tokens import hash_key, is_well_formed_key
from app.platform.kernel.tenant_scope import TenantScope

GRANT_KEY_PREFIX: Final = "vgg_"
"""The prefix of the keys of grants."""
READ_SCOPES: Final = frozenset({"telemetry:read", "sites:read"})
"""The scopes of a grant's key. Only routes that limit their answer to the grant accept it."""
_LOOKUP_VALID: Final = timedelta(seconds=1)
_FIND: Final = (
    select(GrantKey, Grant, select_integrator_id(Grant.organisation_id))
    .join(Grant, Grant.id == GrantKey.grant_id)
    .where(GrantKey.hash == bindparam("hash"))
)


def make_grant_authenticator(database: Database) -> Callable[[str, datetime], Awaitable[Principal]]:
    """Make the authenticator of the keys of grants."""

    async def authenticate(key: str, now: datetime) -> Principal:
        if not is_well_formed_key(key, GRANT_KEY_PREFIX):
            raise UnauthorisedError("The key of the grant is not valid. Check that you copied all of it.")
        async with database.look_up() as session:
            found = (await session.execute(_FIND, {"hash": hash_key(key)})).one_or_none()
            if found is None or found[0].revoked_at is not None:
                raise UnauthorisedError(
                    "The key of the grant does not exist or was revoked. Use another one."
                )
            record, grant, integrator_id = found
            check_usable(grant, now)
            purposes = await read_purposes_in_force(session, grant.organisation_id, grant.site_ids, now)
        limits = GrantLimits(
            grant.id,
            frozenset(grant.metrics),
            tuple((site, purposes.select_metrics(site, grant.metrics)) for site in sorted(purposes.by_site)),
            grant.covers_from,
            grant.covers_until,
            grant.precision_m,
        )
        return Principal(
            record.id,
            grant.organisation_id,
            platform=False,
            scopes=READ_SCOPES,
            tenant_scope=TenantScope((grant.organisation_id,), tuple(sorted(purposes.by_site)), limits),
            name=grant.recipient,
            kind="grant",
            expires_at=grant.valid_until,
            integrator_id=integrator_id,
            valid_until=min(now + _LOOKUP_VALID, grant.valid_until, purposes.ends_at or grant.valid_until),
        )

    return authenticate


def check_usable(grant: Grant, now: datetime) -> None:
    """Refuse a grant that is not active.

    Raises:
        UnauthorisedError: `grant_revoked`, `grant_expired`, `grant_not_accepted`.
        ForbiddenError: `grant_suspended`.
    """
    state = grant.state(now)
    if state == "revoked":
        raise UnauthorisedError(
            "The grant was revoked. Ask the organisation that gave it for another one.", code="grant_revoked"
        )
    if state == "expired":
        raise UnauthorisedError(
            "The grant has expired. Ask the organisation that gave it to extend it.", code="grant_expired"
        )
    if state == "offered":
        raise UnauthorisedError(
            "The grant is not accepted yet. Open its link, and accept its terms.", code="grant_not_accepted"
        )
    if state == "suspended":
        raise ForbiddenError(
            "The grant is suspended. Ask the organisation that gave it when it continues.",
            code="grant_suspended",
        )
