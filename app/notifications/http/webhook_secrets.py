"""Webhooks' secrets and headers, sealed and opened (what each is bound to, `sealed_columns` says).

Owns which secrets sign. What was stored in clear (before there were keys) is taken as it is until `maintain`
has sealed it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.platform.secrets.sealed_columns import WEBHOOK_HEADERS, WEBHOOK_SECRET
from app.platform.secrets.sealing import SecretSealer

FORMER_LIMIT: Final = 5
"""Former secrets of an endpoint that may sign at once: each one is a signature more in every request."""


def seal_secret(sealer: SecretSealer, endpoint_id: UUID, secret: str) -> str:
    """Seal an endpoint's secret (SealError where there is no key)."""
    return WEBHOOK_SECRET.seal(sealer, secret, endpoint_id)


def open_secret(sealer: SecretSealer, endpoint_id: UUID, stored: str) -> str:
    """Give an endpoint's secret (SealError where it cannot be opened)."""
    return WEBHOOK_SECRET.open(sealer, stored, endpoint_id)


def open_signing_secrets(
    sealer: SecretSealer,
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
    kept = [each["secret"] for each in filter_active_secrets(former, now)]
    return [open_secret(sealer, endpoint_id, stored) for stored in (secret, *kept)]


def filter_active_secrets(former: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Give those of `former_secrets` that still sign."""
    return [dict(each) for each in former if datetime.fromisoformat(each["expires_at"]) > now]


def retire_secret(
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
        for each in filter_active_secrets(former, now)
    ]
    return [{"secret": secret, "expires_at": until.isoformat()}, *kept]


def seal_headers(sealer: SecretSealer, endpoint_id: UUID, headers: Mapping[str, str]) -> str | None:
    """Seal an endpoint's own headers; None where there are none."""
    return WEBHOOK_HEADERS.seal(sealer, json.dumps(dict(headers)), endpoint_id) if headers else None


def open_headers(sealer: SecretSealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Give an endpoint's own headers (SealError where they cannot be opened)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(WEBHOOK_HEADERS.open(sealer, stored, endpoint_id))
    return opened
