"""Passwords as hashes: argon2id (RFC 9106), in threads, only so many at once, and each subject in its turn.

A hash takes as much memory as it is meant to cost an attacker: what comes at the same time waits, and is sent
away where that would take too long. Of one account, and of one address, one hash is made at a time; the
others wait in a line of their own, so that whoever asks for many keeps nobody else waiting.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.people.password_rules import normalise_password
from app.platform.config.sign_in_settings import SessionSettings
from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError

_PATIENCE_S: Final = 10.0
_WAITING: Final = 10
"""How many hashes of one account, or of one address, wait for their turn."""
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class PasswordHashingPool:
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
        self._turns = FairSemaphore(1, _WAITING)
        # Who has a turn is let in in the order of asking. As nobody is in that line twice, they take turns.
        self._places = asyncio.Semaphore(settings.hashes_at_once)
        # Of their own: whatever else is done in threads holds up nobody who signs in.
        self._threads = ThreadPoolExecutor(settings.hashes_at_once, thread_name_prefix="password-hash")
        # Of no password: to check one against it takes as long as against a person's.
        self._nobody = (
            f"$argon2id$v=19$m={settings.hash_memory_kib},t={settings.hash_passes},p=1"
            f"${_chance(_SALT_BYTES)}${_chance(_HASH_BYTES)}"
        )

    async def hash(self, password: str, subjects: tuple[str, str]) -> str:
        """Hash a password that was checked.

        Args:
            password: In normal form.
            subjects: Whose turn it takes: the caller's address, and the account.

        Raises:
            TooManyRequestsError: `too_many_requests_at_once`: too many of these subjects wait.
            UnavailableError: `too_busy`: too many others are being hashed.
        """
        return await self._in_turn(subjects, lambda: self._argon.hash(password))

    async def verify(self, password: str, hashed: str | None, subjects: tuple[str, str]) -> bool:
        """Tell whether a password is the one of a hash; None takes as long, and is never it (as `hash`)."""
        normal = normalise_password(password)
        right = await self._in_turn(subjects, lambda: self._verify(normal, hashed or self._nobody))
        return right and hashed is not None

    def is_old(self, hashed: str) -> bool:
        """Whether a hash was made to cost less, or more, than hashes do by now."""
        return self._argon.check_needs_rehash(hashed)

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._argon.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn[Result](self, subjects: tuple[str, str], work: Callable[[], Result]) -> Result:
        turn = await self._turn(subjects)
        try:
            made = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except BaseException:
            turn.close()
            raise

        def done(ended: asyncio.Future[Result]) -> None:
            turn.close()
            if not ended.cancelled():
                ended.exception()  # Whoever waited for it may have gone.

        # No thread can be stopped: it keeps its place, and its memory, until it is done.
        made.add_done_callback(done)
        return await asyncio.shield(made)

    async def _turn(self, subjects: tuple[str, str]) -> ExitStack:
        """Wait for a turn. Returns what gives it back."""
        with ExitStack() as held:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    # In one order: who waits for an account holds nothing that another account waits for.
                    for subject in subjects:
                        if not await self._turns.acquire(subject):
                            raise _too_many()
                        held.callback(self._turns.release, subject)
                    await self._places.acquire()
                    held.callback(self._places.release)
            except TimeoutError:
                raise UnavailableError(
                    "Too many people are signing in just now: try again.", code="too_busy"
                ) from None
            return held.pop_all()


def _too_many() -> TooManyRequestsError:
    return TooManyRequestsError(
        "Too many sign-ins of this account, or from this address, at once: wait for some to be answered.",
        retry_after_s=1,
        code="too_many_requests_at_once",
    )


def _chance(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
