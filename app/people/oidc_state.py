"""A sign-in at the provider that is under way: what Vigie has to know again when the browser comes back.

The browser keeps it in a cookie, sealed: any process of the API can go on with it, nobody can make one up.
"""

import base64
import binascii
import hashlib
import secrets
from datetime import datetime
from typing import Final, Self
from uuid import UUID

import msgspec

from app.platform.secrets.sealing import SealingError, SecretSealer

COOKIE: Final = "vigie_oidc"
STATE_LIFETIME_S: Final = 600
"""How long somebody may take at the provider (seconds)."""

_CONTEXT: Final = "oidc flight"


class OidcSignInState(msgspec.Struct, frozen=True):
    """A sign-in under way.

    Attributes:
        state: Comes back with the browser: the answer is to this question.
        nonce: Comes back in the ID token.
        verifier: Shows that who redeems the code is who asked for it (PKCE, RFC 7636).
        begun: When, in seconds since the epoch.
        organisation: Whom the person wants to work for.
        confirmed: Whether the person said so on a page of Vigie's; else a link did, which may be anybody's.
    """

    state: str
    nonce: str
    verifier: str
    begun: float
    organisation: UUID | None
    confirmed: bool = False

    @classmethod
    def begin(cls, organisation: UUID | None, now: datetime, *, confirmed: bool = False) -> Self:
        """A new one, of chance."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, now.timestamp(), organisation, confirmed)

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier (S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_answered_by(self, state: str, now: datetime) -> bool:
        """Whether an answer is to this one, and in time."""
        age_s = now.timestamp() - self.begun
        return age_s <= STATE_LIFETIME_S and secrets.compare_digest(state.encode(), self.state.encode())


class StateCookieSealer:
    """Seals what browsers keep.

    Args:
        secret: What only Vigie and the provider know; the key is made of it.
    """

    def __init__(self, secret: str) -> None:
        self._sealer = SecretSealer([hashlib.sha256(f"{_CONTEXT}\0{secret}".encode()).digest()])

    def pack(self, flight: OidcSignInState) -> str:
        """The value of the cookie."""
        sealed = self._sealer.seal(msgspec.json.encode(flight).decode(), _CONTEXT)
        return base64.urlsafe_b64encode(sealed.encode()).decode().rstrip("=")

    def unpack(self, cookie: str) -> OidcSignInState | None:
        """What a cookie holds; None for one that is not ours."""
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)).decode()
            return msgspec.json.decode(self._sealer.open(sealed, _CONTEXT), type=OidcSignInState)
        except (SealingError, msgspec.MsgspecError, binascii.Error, ValueError):
            return None
