"""What a member may do: roles as sets of scopes. Pure.

A role is a word for people; what is checked are scopes, as for API keys. A new scope is nobody's but the
owners' until it is written here.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from app.platform.identity.principals import ALL_SCOPES

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
    # Members, API keys, and all else.
    "owner": (ALL_SCOPES,),
    # What the organisation does day by day; not who may do it.
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
    ),
    # What others did is in the audit log, who they are among the members: neither is shown to those who look.
    "viewer": _READS,
    "installer": ("sites:read", "boxes:write", "telemetry:read"),
}
