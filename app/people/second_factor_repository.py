"""Reads and writes the second factors of a person.

Every change of factors calls `record_enrolment`, `record_removal` or `delete_factors`, so that
`User.second_factor_at` agrees with them. The person must be locked for it. Sessions have the full tenant
scope, or that of the person.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.people.models import Passkey, RecoveryCodes, TotpSecret, User
from app.people.recovery_codes import generate_recovery_codes, hash_recovery_code
from app.platform.db.database import WriteSession

SecondFactorMethod = Literal["totp", "passkey", "recovery_code"]


class EnrolledFactors(NamedTuple):
    """The second factors of a person.

    Attributes:
        totp: The confirmed secret of an authenticator app; None: there is none.
        passkeys: The passkeys, the oldest first.
        recovery_codes: The unused recovery codes; None: none were made.
    """

    totp: TotpSecret | None
    passkeys: Sequence[Passkey]
    recovery_codes: RecoveryCodes | None

    @property
    def recovery_codes_left(self) -> int:
        """The number of unused recovery codes."""
        return 0 if self.recovery_codes is None else len(self.recovery_codes.code_hashes)

    def list_methods(self, *, passkeys: bool) -> list[SecondFactorMethod]:
        """List the methods that the person can use.

        Args:
            passkeys: Whether passkeys can be used at the present address.
        """
        usable: dict[SecondFactorMethod, bool] = {
            "totp": self.totp is not None,
            "passkey": passkeys and bool(self.passkeys),
            "recovery_code": self.recovery_codes_left > 0,
        }
        return [method for method, is_usable in usable.items() if is_usable]


def make_factor_subject(user_id: UUID) -> str:
    """Make the subject by which attempts at the second factors of a person are counted."""
    return f"second-factor:{user_id}"


async def read_factors(session: AsyncSession, user_id: UUID) -> EnrolledFactors:
    """Read the second factors of a person."""
    passkeys = select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.id)
    secret = await session.get(TotpSecret, user_id)
    return EnrolledFactors(
        None if secret is None or secret.confirmed_at is None else secret,
        (await session.scalars(passkeys)).all(),
        await session.get(RecoveryCodes, user_id),
    )


async def find_passkey(
    session: AsyncSession, credential_id: bytes, user_id: UUID | None = None
) -> Passkey | None:
    """Find a passkey by the id of its credential, of any person or of one."""
    statement = select(Passkey).where(Passkey.credential_id == credential_id)
    if user_id is not None:
        statement = statement.where(Passkey.user_id == user_id)
    return await session.scalar(statement)


async def replace_recovery_codes(session: WriteSession, user_id: UUID, now: datetime) -> list[str]:
    """Replace the recovery codes of a person. Returns the only copy of the new ones."""
    # Deleted and inserted, not updated: in the audit log an update is a use.
    await session.execute(delete(RecoveryCodes).where(RecoveryCodes.user_id == user_id))
    codes = generate_recovery_codes()
    session.add(
        RecoveryCodes(
            user_id=user_id, code_hashes=[hash_recovery_code(each) for each in codes], created_at=now
        )
    )
    return codes


async def record_enrolment(session: WriteSession, user: User, now: datetime) -> list[str] | None:
    """Record that a person enrolled a factor. Returns new recovery codes at the first one, else None."""
    if user.second_factor_at is not None:
        return None
    user.second_factor_at = now
    return await replace_recovery_codes(session, user.id, now)


async def record_removal(session: WriteSession, user: User) -> None:
    """Record that a person removed a factor: without any other one, recovery codes end too."""
    await session.flush()
    factors = await read_factors(session, user.id)
    if factors.totp is None and not factors.passkeys:
        await delete_factors(session, user)


async def delete_factors(session: WriteSession, user: User) -> None:
    """Delete all second factors of a person."""
    for table in (TotpSecret, Passkey, RecoveryCodes):
        await session.execute(delete(table).where(table.user_id == user.id))
    user.second_factor_at = None
