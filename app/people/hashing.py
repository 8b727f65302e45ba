"""Passwords as hashes: argon2id (RFC 9106), in threads, and only so many at once.

A hash takes as much memory as it is meant to cost an attacker: what comes at the same time waits, and is sent
away where that would take too long.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.core.errors import UnavailableError
from app.core.people_settings import SessionSettings
from app.people.password_rules import normal_password

_PATIENCE_S: Final = 10.0
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class Hasher:
    """Hashes passwords and checks them.

    Args:
        settings: What a hash costs, and how many are made at once.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._argon = PasswordHasher(
            time_cost=settings.hash_passes,
            memory_cost=settings.hash_memory_kib,
            parallelism=1,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        self._places = asyncio.Semaphore(settings.hashes_at_once)
        # Of no password: to check one against it takes as long as against a person's.
        self._nobody = (
            f"$argon2id$v=19$m={settings.hash_memory_kib},t={settings.hash_passes},p=1"
            f"${_chance(_SALT_BYTES)}${_chance(_HASH_BYTES)}"
        )

    async def hash(self, password: str) -> str:
        """Hash a password that was checked (UnavailableError `too_busy`)."""
        async with self._place():
            return await asyncio.to_thread(self._argon.hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Tell whether a password is the one of a hash; None takes as long, and is never it.

        Raises:
            UnavailableError: `too_busy`: too many others are being checked.
        """
        async with self._place():
            right = await asyncio.to_thread(self._verify, normal_password(password), hashed or self._nobody)
        return right and hashed is not None

    def is_old(self, hashed: str) -> bool:
        """Whether a hash was made to cost less, or more, than hashes do by now."""
        return self._argon.check_needs_rehash(hashed)

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._argon.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._places.acquire()
        except TimeoutError:
            raise UnavailableError(
                "Too many people are signing in just now: try again.", code="too_busy"
            ) from None
        try:
            yield
        finally:
            self._places.release()


def _chance(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
