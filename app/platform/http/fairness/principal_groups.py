"""Groups requests that share limits: those of an organisation, and of an integrator with its clients.

Organisations can create many keys and sessions, and integrators many clients: together they get no more than
their group's limit. A key's organisation is known after its lookup and cached for its next requests. The
cache expires after a minute, as not every route looks the key up: a revoked key would count for its
organisation forever.

Pure: the clock is an argument.
"""

from collections import OrderedDict
from typing import Final, NamedTuple, Self
from uuid import UUID

from app.platform.identity.caller_authentication import Principal

_CACHE_SIZE: Final = 50_000
_CACHE_TTL_S: Final = 60.0


class PrincipalGroup(NamedTuple):
    """The organisations that a request counts for.

    Attributes:
        organisation: the organisation of the key or the session.
        tree: its integrator, or the organisation itself where it is no client.
    """

    organisation: UUID
    tree: UUID

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Return the group of a caller."""
        return cls(principal.organisation_id, principal.tree)


class _CachedGroup(NamedTuple):
    group: PrincipalGroup
    at: float


class VerifiedKeyCache:
    """Caches the groups of keys and sessions that were verified within a minute, by hash; at most 50,000."""

    def __init__(self, most: int = _CACHE_SIZE) -> None:
        self._groups: OrderedDict[bytes, _CachedGroup] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, digest: bytes, now: float) -> PrincipalGroup | None:
        """Return the group of a key as of its last lookup; None if it is unknown or expired."""
        known = self._groups.get(digest)
        return None if known is None or now - known.at > _CACHE_TTL_S else known.group

    def add(self, digest: bytes, group: PrincipalGroup, now: float) -> None:
        """Cache the group of a verified key. A session can change its organisation."""
        self._groups[digest] = _CachedGroup(group, now)
        self._groups.move_to_end(digest)
        if len(self._groups) > self._most:
            self._groups.popitem(last=False)

    def remove(self, digest: bytes) -> None:
        """Remove a key that was refused: it is revoked or expired."""
        self._groups.pop(digest, None)
