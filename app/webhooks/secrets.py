"""Webhooks' secrets and headers, sealed and opened.

Owns what each is bound to, and which secrets sign. What was stored in clear (before there were keys) is
taken as it is until `maintain` has sealed it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.sealing import Sealer, is_sealed
from app.webhooks.signing import PREFIX


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
    kept = [each["secret"] for each in former if datetime.fromisoformat(each["expires_at"]) > now]
    return [open_secret(sealer, endpoint_id, stored) for stored in (secret, *kept)]


def seal_headers(sealer: Sealer, endpoint_id: UUID, headers: Mapping[str, str]) -> str | None:
    """Seal an endpoint's own headers; None where there are none."""
    return sealer.seal(json.dumps(dict(headers)), f"webhook-headers:{endpoint_id}") if headers else None


def open_headers(sealer: Sealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Give an endpoint's own headers (SealError where they cannot be opened)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(sealer.open(stored, f"webhook-headers:{endpoint_id}"))
    return opened
