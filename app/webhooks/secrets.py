"""Webhooks' secrets and headers, sealed and opened.

Owns what each is bound to, and which secrets sign. What was stored in clear (before there were keys) is
taken as it is until `maintain` has sealed it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.core.sealing import Sealer, is_sealed
from app.webhooks.signing import PREFIX

FORMER_LIMIT: Final = 5
"""Former secrets of an endpoint that may sign at once: each one is a signature more in every request."""


def _secret_of(endpoint_id: UUID) -> str:
    return f"webhook-secret:{endpoint_id}"


def seal_secret(sealer: Sealer, endpoint_id: UUID, secret: str) -> str:
    """Seal an endpoint's secret (SealError where there is no key)."""
    return sealer.seal(secret, _secret_of(endpoint_id))


def open_secret(sealer: Sealer, endpoint_id: UUID, stored: str) -> str:
    """Give an endpoint's secret (SealError where it cannot be opened)."""
    if stored.startswith(PREFIX) and not is_sealed(stored):
        return stored
    return sealer.open(stored, _secret_of(endpoint_id))


def reseal_secret(sealer: Sealer, endpoint_id: UUID, stored: str) -> str:
    """Give a secret as it is sealed now: itself where that is with the first key already (SealError)."""
    if sealer.current is not None and stored.startswith(sealer.current):
        return stored
    return seal_secret(sealer, endpoint_id, open_secret(sealer, endpoint_id, stored))


def signing_secrets(
    sealer: Sealer,
    endpoint_id: UUID,
    secret: str,
    former: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[str]:
    """Give the secrets that sign now: the newest first.

    Args:
        sealer: Opens them.
        endpoint_id: Whose they are.
        secret: As `webhook_endpoints.secret` has it.
        former: As `former_secrets` has them; those past their `expires_at` (RFC 3339) are left out.
        now: Aware.

    Raises:
        SealError: One cannot be opened.
    """
    kept = [each["secret"] for each in alive(former, now)]
    return [open_secret(sealer, endpoint_id, stored) for stored in (secret, *kept)]


def alive(former: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Give those of `former_secrets` that still sign."""
    return [dict(each) for each in former if datetime.fromisoformat(each["expires_at"]) > now]


def retired(
    secret: str, former: Sequence[Mapping[str, Any]], now: datetime, until: datetime
) -> list[dict[str, Any]]:
    """Give `former_secrets` as they are once a new secret has taken the place of `secret`.

    Args:
        secret: As `webhook_endpoints.secret` has it.
        former: As `former_secrets` has them; none of them signs longer than `until` either.
        now: Aware.
        until: When what signed before ends; not after `now`: at once.
    """
    if until <= now:
        return []
    kept = [
        {**each, "expires_at": min(datetime.fromisoformat(each["expires_at"]), until).isoformat()}
        for each in alive(former, now)
    ]
    return [{"secret": secret, "expires_at": until.isoformat()}, *kept]


def seal_headers(sealer: Sealer, endpoint_id: UUID, headers: Mapping[str, str]) -> str | None:
    """Seal an endpoint's own headers; None where there are none."""
    return sealer.seal(json.dumps(dict(headers)), f"webhook-headers:{endpoint_id}") if headers else None


def reseal_headers(sealer: Sealer, endpoint_id: UUID, stored: str) -> str | None:
    """Give headers as they are sealed now, likewise."""
    if sealer.current is not None and stored.startswith(sealer.current):
        return stored
    return seal_headers(sealer, endpoint_id, open_headers(sealer, endpoint_id, stored))


def open_headers(sealer: Sealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Give an endpoint's own headers (SealError where they cannot be opened)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(sealer.open(stored, f"webhook-headers:{endpoint_id}"))
    return opened
