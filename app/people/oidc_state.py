"""Stores the state of a running OpenID Connect sign-in in an encrypted cookie of the browser.

Any API process can continue the sign-in, and the cookie cannot be forged.
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
"""The longest duration of a sign-in at the provider (seconds)."""

_CONTEXT: Final = "oidc flight"


class OidcSignInState(msgspec.Struct, frozen=True):
    """The state of a running sign-in.

    Attributes:
        state: The parameter `state`, which the callback must repeat (CSRF protection).
        nonce: The nonce, which the ID token must repeat.
        verifier: The code verifier (PKCE, RFC 7636).
        begun: The start, in seconds since the epoch.
        organisation: The organisation to work for; None: not chosen.
        confirmed: Whether the person chose it on a page of Vigie. Otherwise a link may have chosen it.
        page: The page of the console to return to; None: the callback answers with JSON.
    """

    state: str
    nonce: str
    verifier: str
    begun: float
    organisation: UUID | None
    confirmed: bool = False
    page: str | None = None

    @classmethod
    def begin(
        cls, organisation: UUID | None, now: datetime, *, confirmed: bool = False, page: str | None = None
    ) -> Self:
        """Start a sign-in with random values."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, now.timestamp(), organisation, confirmed, page)

    @property
    def challenge(self) -> str:
        """The code challenge of the verifier (S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_answered_by(self, state: str, now: datetime) -> bool:
        """Whether a callback belongs to this sign-in and is in time."""
        age_s = now.timestamp() - self.begun
        return age_s <= STATE_LIFETIME_S and secrets.compare_digest(state.encode(), self.state.encode())


class StateCookieSealer:
    """Encrypts and decrypts the cookies of sign-ins.

    Args:
        secret: The client secret, from which the key is derived.
    """

    def __init__(self, secret: str) -> None:
        self._sealer = SecretSealer([hashlib.sha256(f"{_CONTEXT}\0{secret}".encode()).digest()])

    def pack(self, state: OidcSignInState) -> str:
        """Encrypt a state to the value of a cookie."""
        sealed = self._sealer.seal(msgspec.json.encode(state).decode(), _CONTEXT)
        return base64.urlsafe_b64encode(sealed.encode()).decode().rstrip("=")

    def unpack(self, cookie: str) -> OidcSignInState | None:
        """Decrypt a cookie; None if it is not valid."""
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)).decode()
            return msgspec.json.decode(self._sealer.open(sealed, _CONTEXT), type=OidcSignInState)
        except (SealingError, msgspec.MsgspecError, binascii.Error, ValueError):
            return None
