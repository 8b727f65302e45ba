"""Defines the protocol by which the revocation of an API key reaches `app.people` without importing it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Request

from app.platform.db.database import WriteSession
from app.platform.kernel.application_resources import get_resource


class IssuedTokenInvalidator(Protocol):
    """Invalidates the tokens that an API key created for people: invitations and password resets."""

    async def __call__(self, session: WriteSession, issuer: UUID, now: datetime) -> None:
        """Invalidate the unused tokens.

        Args:
            session: the transaction of the revocation.
            issuer: the key.
            now: the time of the revocation.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyRevocation:
    """Holds the function that the application provides: a protocol has no type to provide it under."""

    invalidate_issued_tokens: IssuedTokenInvalidator


async def _get_invalidator(request: Request) -> IssuedTokenInvalidator:
    return get_resource(request.app, KeyRevocation).invalidate_issued_tokens


IssuedTokenInvalidatorDependency = Annotated[IssuedTokenInvalidator, Depends(_get_invalidator)]
