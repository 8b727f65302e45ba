"""Whose requests are counted together: those of an organisation, and those of an integrator and its clients.

Keys and sign-ins can be made by the dozen, and clients by an integrator: what each of them may do adds up to
no more than this. Whose a key is, is known once it was looked up, and remembered for its next request; for a
minute, as not every route asks for a key: one that was revoked would count for its organisation for ever.

Pure: the clock is an argument.
"""

from collections import OrderedDict
from typing import Final, NamedTuple, Self
from uuid import UUID

from app.platform.identity.principals import Principal

_KNOWN_MOST: Final = 50_000
_KNOWN_FOR_S: Final = 60.0


class PrincipalGroup(NamedTuple):
    """Whose requests are counted together.

    Attributes:
        organisation: for whom the key or the sign-in speaks.
        tree: its integrator, or itself where it is nobody's client.
    """

    organisation: UUID
    tree: UUID

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Whose a caller's requests are."""
        return cls(principal.organisation_id, principal.tree)


class _Known(NamedTuple):
    account: PrincipalGroup
    at: float


class VerifiedKeyCache:
    """The keys and sign-ins that turned out good within the last minute, by hash; the newest 50,000."""

    def __init__(self, most: int = _KNOWN_MOST) -> None:
        self._accounts: OrderedDict[bytes, _Known] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, digest: bytes, now: float) -> PrincipalGroup | None:
        """Whose a key was when it was looked up last; None for one that is not known, or not any more."""
        known = self._accounts.get(digest)
        return None if known is None or now - known.at > _KNOWN_FOR_S else known.account

    def learn(self, digest: bytes, account: PrincipalGroup, now: float) -> None:
        """It was looked up: remember whose it is. A sign-in can change its organisation."""
        self._accounts[digest] = _Known(account, now)
        self._accounts.move_to_end(digest)
        if len(self._accounts) > self._most:
            self._accounts.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """It was refused: it was revoked, or its time is over."""
        self._accounts.pop(digest, None)
