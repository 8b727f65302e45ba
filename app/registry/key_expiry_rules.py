"""That no key outlives the one that makes or prolongs it, nor do persons or codes that register boxes.

That it may do no more is `app.registry.service.check_scopes_covered`, which people's roles go by too.
"""

from datetime import datetime
from uuid import UUID

from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ForbiddenError


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
