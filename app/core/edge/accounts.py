"""Whose requests are counted together: those of an organisation, and those of an integrator and its clients.

Keys and sign-ins can be made by the dozen, and clients by an integrator: what each of them may do adds up to
no more than this. Whose a key is, is known once it was looked up, and remembered for its next request.
"""

from collections import OrderedDict
from typing import Final, NamedTuple, Self
from uuid import UUID

from app.core.auth import Principal

_KNOWN_MOST: Final = 50_000


class Account(NamedTuple):
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
        return cls(principal.organisation_id, principal.integrator_id or principal.organisation_id)


class KnownKeys:
    """The keys and sign-ins that turned out good, by hash; the newest 50,000."""

    def __init__(self, most: int = _KNOWN_MOST) -> None:
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, digest: bytes) -> Account | None:
        """Whose a key was when it was looked up last; None for one that is not known."""
        return self._accounts.get(digest)

    def learn(self, digest: bytes, account: Account) -> None:
        """Remember whose it is: a sign-in can change its organisation."""
        self._accounts[digest] = account
        self._accounts.move_to_end(digest)
        if len(self._accounts) > self._most:
            self._accounts.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """It was refused: it was revoked, or its time is over."""
        self._accounts.pop(digest, None)
