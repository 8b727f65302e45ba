"""Defines the roles of members as sets of scopes. Pure.

Requests check scopes, as for API keys. Only owners have a new scope until it is added to a role here.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from app.platform.identity.caller_authentication import ALL_SCOPES

Role = Literal["owner", "operator", "viewer", "installer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_READS: Final = (
    "organisations:read",
    "sites:read",
    "telemetry:read",
    "rules:read",
    "alerts:read",
    "incidents:read",
    "webhooks:read",
)
SCOPES_OF: Final[Mapping[Role, tuple[str, ...]]] = {
    "owner": (ALL_SCOPES,),
    # Daily operation, without the management of members and API keys.
    "operator": (
        *_READS,
        "sites:write",
        "boxes:write",
        "telemetry:write",
        "rules:write",
        "alerts:write",
        "incidents:write",
        "webhooks:write",
        "audit:read",
        "rights:read",
        "rights:write",
        "grants:read",
        "grants:write",
    ),
    # Without `audit:read` and `members:read`: they show personal data of other people.
    "viewer": _READS,
    "installer": ("sites:read", "boxes:write", "telemetry:read"),
}
