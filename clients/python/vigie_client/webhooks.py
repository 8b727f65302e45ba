"""Verifies webhooks by the package `standardwebhooks`."""

from collections.abc import Mapping
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

__all__ = ["WebhookVerificationError", "verify_webhook"]


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes | str) -> dict[str, Any]:
    """Verify the signature and age of a webhook, and return its body.

    Args:
        secret: The webhook's secret, `whsec_…`.
        headers: The headers of the request, in any case.
        body: The body as it arrived.

    Raises:
        WebhookVerificationError: It was not signed with this secret, or is too old.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    found: dict[str, Any] = Webhook(secret).verify(body, lower)
    return found
