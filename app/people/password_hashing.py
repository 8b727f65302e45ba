"""Hashes and verifies passwords with argon2id (RFC 9106) in a thread pool, with fair concurrency limits.

A hash takes much memory by design, so the number of concurrent hashes is limited. Others wait, and are
refused after a timeout. Each account and each client address has one hash at a time and a queue of its own,
so that many requests of one of them do not delay the others.
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
from app.people.settings import SessionSettings
from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError

_TIMEOUT_S: Final = 10.0
_QUEUE_LIMIT: Final = 10
"""The largest number of waiting hashes of one account, or of one address."""
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class PasswordHashingPool:
    """A thread pool that hashes and verifies passwords.

    Args:
        settings: The cost of a hash, and the number of concurrent hashes.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._argon = PasswordHasher(
            time_cost=settings.hash_passes,
            memory_cost=settings.hash_memory_kib,
            parallelism=1,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        self._subject_slots = FairSemaphore(1, _QUEUE_LIMIT)
        # First come, first served. A subject waits here at most once, so subjects alternate.
        self._hash_slots = asyncio.Semaphore(settings.hashes_at_once)
        # A separate pool, so that other work in threads does not delay sign-ins.
        self._threads = ThreadPoolExecutor(settings.hashes_at_once, thread_name_prefix="password-hash")
        # The hash of no password. Verifying against it takes as long as against a real one.
        self._dummy_hash = (
            f"$argon2id$v=19$m={settings.hash_memory_kib},t={settings.hash_passes},p=1"
            f"${_random_base64(_SALT_BYTES)}${_random_base64(_HASH_BYTES)}"
        )

    async def hash(self, password: str, subjects: tuple[str, str]) -> str:
        """Hash a checked password.

        Args:
            password: The password in normal form.
            subjects: The subjects of the concurrency limit: the client's address and the account.

        Raises:
            TooManyRequestsError: `too_many_requests_at_once`: the queue of a subject is full.
            UnavailableError: `too_busy`: the timeout passed.
        """
        return await self._run_limited(subjects, lambda: self._argon.hash(password))

    async def verify(self, password: str, hashed: str | None, subjects: tuple[str, str]) -> bool:
        """Whether a password matches a hash. None takes as long and never matches. Raises as `hash`."""
        normal = normalise_password(password)
        right = await self._run_limited(subjects, lambda: self._verify(normal, hashed or self._dummy_hash))
        return right and hashed is not None

    def is_old(self, hashed: str) -> bool:
        """Whether a hash has other cost parameters than new hashes have."""
        return self._argon.check_needs_rehash(hashed)

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._argon.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run_limited[Result](self, subjects: tuple[str, str], work: Callable[[], Result]) -> Result:
        slots = await self._acquire_slots(subjects)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except BaseException:
            slots.close()
            raise

        def release(ended: asyncio.Future[Result]) -> None:
            slots.close()
            if not ended.cancelled():
                ended.exception()  # Marks it as retrieved: the caller may have been cancelled.

        # A thread cannot be stopped: it holds its slots, and its memory, until it ends.
        running.add_done_callback(release)
        return await asyncio.shield(running)

    async def _acquire_slots(self, subjects: tuple[str, str]) -> ExitStack:
        """Wait for the slots of both subjects and of a hash. Closing the result releases them."""
        with ExitStack() as acquired:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    # Always in the same order (address, account), which prevents deadlocks.
                    for subject in subjects:
                        if not await self._subject_slots.acquire(subject):
                            raise _make_queue_full_error()
                        acquired.callback(self._subject_slots.release, subject)
                    await self._hash_slots.acquire()
                    acquired.callback(self._hash_slots.release)
            except TimeoutError:
                raise UnavailableError(
                    "Too many people are signing in right now. Try again later.", code="too_busy"
                ) from None
            return acquired.pop_all()


def _make_queue_full_error() -> TooManyRequestsError:
    return TooManyRequestsError(
        "Too many concurrent sign-ins of this account, or from this address. Wait for the others to finish.",
        retry_after_s=1,
        code="too_many_requests_at_once",
    )


def _random_base64(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
