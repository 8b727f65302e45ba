"""Stores token buckets in memory that the worker processes of an API share.

Of each bucket only one number is stored, the time at which it is full again, in a table of fixed size. The
workers use it without locks: a number is read and written at once, and if two workers take from a bucket in
the same microsecond, one of the two tokens is not counted.

    table = SharedBuckets(os.memfd_create("buckets"))   # in the parent; its workers inherit the descriptor
    table.set("key", digest, time.monotonic() + 4, time.monotonic())
"""

import mmap
import os
from collections.abc import Hashable
from hashlib import blake2b
from typing import Final
from uuid import UUID

_SLOTS: Final = 2**17
_WORD: Final = 8
# Of the hash, so that clients cannot choose buckets that meet in one slot.
_KEY_BYTES: Final = 16
_SIZE: Final = _KEY_BYTES + 2 * _WORD * _SLOTS
# Slots in which a bucket may be.
_PROBES: Final = 8


class SharedBuckets:
    """The buckets of all policies; at most 131,072 that are not full.

    Args:
        descriptor: a file of the workers' parent. The first process that opens it makes the table.
    """

    def __init__(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_size < _SIZE:
            os.truncate(descriptor, _SIZE)
            os.pwrite(descriptor, os.urandom(_KEY_BYTES), 0)
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._key = self._memory[:_KEY_BYTES]
        words = memoryview(self._memory)[_KEY_BYTES:]
        self._hashes = words[: _WORD * _SLOTS].cast("Q")
        self._full_at = words[_WORD * _SLOTS :].cast("d")

    def get(self, policy: str, subject: Hashable) -> float | None:
        """Return when a bucket is full again, in seconds of the monotonic clock; None: it is full."""
        wanted = self._hash(policy, subject)
        for slot in _slots_of(wanted):
            if self._hashes[slot] == wanted:
                return self._full_at[slot]
        return None

    def set(self, policy: str, subject: Hashable, full_at: float, now: float) -> None:
        """Store when a bucket is full again. Where no slot is free, the fullest bucket is forgotten."""
        wanted = self._hash(policy, subject)
        slots = _slots_of(wanted)
        chosen = next((slot for slot in slots if self._hashes[slot] == wanted), None)
        if chosen is None:
            chosen = min(slots, key=lambda slot: max(self._full_at[slot], now))
            self._hashes[chosen] = wanted
        self._full_at[chosen] = full_at

    def _hash(self, policy: str, subject: Hashable) -> int:
        text = subject.bytes if isinstance(subject, UUID) else subject
        data = text if isinstance(text, bytes) else str(text).encode()
        found = blake2b(policy.encode() + b"\0" + data, digest_size=_WORD, key=self._key).digest()
        return int.from_bytes(found) or 1


def _slots_of(found: int) -> list[int]:
    return [(found + step) % _SLOTS for step in range(_PROBES)]
