"""Shifts the wall clock of processes by libfaketime: of Vigie's, of the tests' and of their PostgreSQL's.

Time that only goes on (timeouts, event loops) is left alone, and so are the times of files.
"""

import math
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

_FIXED: Final = {
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",
    # What processes share belongs to the first one's account: that of PostgreSQL would wait for it for ever.
    "FAKETIME_DISABLE_SHM": "1",
}
_NAMES: Final = ("LD_PRELOAD", "FAKETIME", *_FIXED)

WAITS_IN_POSTGRESQL: Final = pytest.mark.skipif(
    "FAKETIME" in os.environ,
    # Its handler of signals sees the true time where a signal interrupts `epoll_wait`.
    reason="under libfaketime PostgreSQL's lock_timeout and statement_timeout do not end a wait for a lock",
)
"""For tests in which PostgreSQL itself ends a wait."""


def preload() -> dict[str, str]:
    """Returns the environment that loads libfaketime; the caller adds how it learns what the time is."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is missing: make test installs it (apt-get install faketime)"
    return {"LD_PRELOAD": str(found[0]), **_FIXED}


def starting_at(time: datetime) -> dict[str, str]:
    """Returns the environment of a process whose clock says `time` now, and of all that it starts."""
    # As an offset: where an instant is given, it is the start of each process.
    return {**preload(), "FAKETIME": f"{math.ceil((time - datetime.now(UTC)).total_seconds()):+d}"}


def inherited() -> dict[str, str]:
    """Returns what a process with an environment of its own needs to have the same clock as this one."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}


if __name__ == "__main__":
    _, _date, *_words = sys.argv
    os.execvpe(_words[0], _words, os.environ | starting_at(datetime.fromisoformat(_date)))  # noqa: S606 (the caller's)
