"""Makes and opens challenges: sealed texts that a client sends back with a second factor or a passkey.

Any API process can open a challenge, and nobody else can make or read one. A challenge is for one purpose,
one person (unless a passkey names them) and their present password. It expires soon, and is answered once:
the nonces of answered challenges are stored until then.
"""

import base64
import binascii
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self
from uuid import UUID

import msgspec
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from app.people.models import UsedChallenge, User
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import UnauthorisedError
from app.platform.secrets.sealing import SealingError, SecretSealer, require_encryption_key

type ChallengePurpose = Literal["second_factor", "passkey", "enrolment", "reauthentication"]

_CONTEXT: Final = "sign-in-challenge:{}"
_NONCE_BYTES: Final = 32


class ChallengeRefusedError(UnauthorisedError):
    """A challenge is not valid, has expired, or was answered already."""

    code = "challenge_refused"

    def __init__(self) -> None:
        super().__init__("The challenge is not valid, has expired, or was answered already. Start again.")


class SignInChallenge(msgspec.Struct, frozen=True):
    """A challenge.

    Attributes:
        nonce: Random bytes, which a passkey signs.
        expires_at: The end, in seconds since the epoch.
        user_id: The person; None: a passkey names them.
        password: The hash of the person's password hash.
        organisation: The organisation to work for; None: not chosen.
    """

    nonce: bytes
    expires_at: float
    user_id: UUID | None = None
    password: bytes | None = None
    organisation: UUID | None = None

    @classmethod
    def begin(
        cls, now: datetime, lifetime_s: float, user: User | None = None, organisation: UUID | None = None
    ) -> Self:
        """Make a challenge for a person, or for whom a passkey names."""
        return cls(
            secrets.token_bytes(_NONCE_BYTES),
            now.timestamp() + lifetime_s,
            None if user is None else user.id,
            None if user is None else hash_password_hash(user),
            organisation,
        )

    def is_for(self, user: User) -> bool:
        """Whether it was made for a person and their present password."""
        return self.user_id == user.id and self.password == hash_password_hash(user)


def hash_password_hash(user: User) -> bytes:
    """Hash the stored hash of a password: a challenge need not contain it to be bound to it."""
    return hashlib.sha256((user.password_hash or "").encode()).digest()


def seal_challenge(sealer: SecretSealer, purpose: ChallengePurpose, challenge: SignInChallenge) -> str:
    """Encrypt a challenge for its client (UnavailableError `encryption_key_missing`)."""
    require_encryption_key(sealer)
    sealed = sealer.seal(msgspec.json.encode(challenge).decode(), _CONTEXT.format(purpose))
    return base64.urlsafe_b64encode(sealed.encode()).decode().rstrip("=")


def open_challenge(
    sealer: SecretSealer, purpose: ChallengePurpose, text: str, now: datetime
) -> SignInChallenge:
    """Open a challenge for a purpose (ChallengeRefusedError)."""
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        challenge = msgspec.json.decode(sealer.open(sealed, _CONTEXT.format(purpose)), type=SignInChallenge)
    except (SealingError, msgspec.MsgspecError, binascii.Error, ValueError):
        raise ChallengeRefusedError from None
    if challenge.expires_at <= now.timestamp():
        raise ChallengeRefusedError
    return challenge


async def use_challenge(session: WriteSession, challenge: SignInChallenge) -> None:
    """Mark a challenge as answered, in the transaction that it allows (ChallengeRefusedError: it was).

    Args:
        session: The transaction, with the full tenant scope.
        challenge: The challenge.
    """
    # A minute more, for clocks of processes that differ.
    expires_at = datetime.fromtimestamp(challenge.expires_at, UTC) + timedelta(minutes=1)
    nonce_hash = hashlib.sha256(challenge.nonce).digest()
    try:
        await session.execute(insert(UsedChallenge).values(nonce_hash=nonce_hash, expires_at=expires_at))
    except IntegrityError:
        raise ChallengeRefusedError from None
