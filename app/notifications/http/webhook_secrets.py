"""Seals and opens the secrets and headers of webhooks, and rotates secrets.

`sealed_columns` binds each value to its row. Values stored in clear text (before there were keys) are
accepted until `maintain` has sealed them.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.platform.kernel.errors import ConflictError
from app.platform.secrets.sealed_columns import WEBHOOK_HEADERS, WEBHOOK_SECRET
from app.platform.secrets.sealing import SecretSealer

FORMER_LIMIT: Final = 5
"""The most former secrets of an endpoint that sign concurrently: each adds a signature to every request."""


def seal_secret(sealer: SecretSealer, endpoint_id: UUID, secret: str) -> str:
    """Seal an endpoint's secret (SealingError without a key)."""
    return WEBHOOK_SECRET.seal(sealer, secret, endpoint_id)


def open_secret(sealer: SecretSealer, endpoint_id: UUID, stored: str) -> str:
    """Decrypt an endpoint's secret (SealingError)."""
    return WEBHOOK_SECRET.open(sealer, stored, endpoint_id)


def open_signing_secrets(
    sealer: SecretSealer,
    endpoint_id: UUID,
    secret: str,
    former: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[str]:
    """Decrypt the secrets that sign now, newest first.

    Args:
        sealer: Decrypts the secrets.
        endpoint_id: The endpoint.
        secret: The column `webhook_endpoints.secret`.
        former: The column `former_secrets`; those past their `expires_at` (RFC 3339) are left out.
        now: The time, aware.

    Raises:
        SealingError: A secret cannot be decrypted.
    """
    active = [each["secret"] for each in filter_active_secrets(former, now)]
    return [open_secret(sealer, endpoint_id, stored) for stored in (secret, *active)]


def filter_active_secrets(former: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Return the former secrets that still sign."""
    return [dict(each) for each in former if datetime.fromisoformat(each["expires_at"]) > now]


def retire_secret(
    secret: str, former: Sequence[Mapping[str, Any]], now: datetime, until: datetime
) -> list[dict[str, Any]]:
    """Return the column `former_secrets` after a new secret has replaced `secret`.

    Args:
        secret: The column `webhook_endpoints.secret`, which becomes a former secret.
        former: The column `former_secrets`; these end at `until` too, if not sooner.
        now: The time, aware.
        until: The end of the overlap; if it is not after `now`, no former secret signs.

    Raises:
        ConflictError: `too_many_secrets`.
    """
    if until <= now:
        return []
    active = [
        {**each, "expires_at": min(datetime.fromisoformat(each["expires_at"]), until).isoformat()}
        for each in filter_active_secrets(former, now)
    ]
    if len(active) >= FORMER_LIMIT:
        raise ConflictError(
            f"{FORMER_LIMIT} former secrets sign already. Wait until one ends (`secret_expires`), or end all "
            "of them with an overlap of PT0S.",
            code="too_many_secrets",
        )
    return [{"secret": secret, "expires_at": until.isoformat()}, *active]


def list_ends(former: Sequence[Mapping[str, Any]], now: datetime) -> list[datetime]:
    """List when the former secrets stop signing, soonest first."""
    return sorted(datetime.fromisoformat(each["expires_at"]) for each in filter_active_secrets(former, now))


def seal_headers(sealer: SecretSealer, endpoint_id: UUID, headers: Mapping[str, str]) -> str | None:
    """Seal an endpoint's custom headers; None if there are none."""
    return WEBHOOK_HEADERS.seal(sealer, json.dumps(dict(headers)), endpoint_id) if headers else None


def open_headers(sealer: SecretSealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Decrypt an endpoint's custom headers (SealingError)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(WEBHOOK_HEADERS.open(sealer, stored, endpoint_id))
    return opened
