"""Shifts the wall clock of processes by libfaketime, as a whole: Vigie, its tests and their PostgreSQL.

Time that only goes on (timeouts, event loops) is left alone, and so are the times of files.
"""

import os
from pathlib import Path
from typing import Final

_NAMES: Final = (
    *("LD_PRELOAD", "FAKETIME", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE"),
    *("FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT", "FAKETIME_DISABLE_SHM"),
)


def preload() -> dict[str, str]:
    """Returns the environment that loads libfaketime; `FAKETIME` or its file says what the time is."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is missing: make test installs it (apt-get install faketime)"
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "FAKETIME_DISABLE_SHM": "1"}


def inherited() -> dict[str, str]:
    """Returns what a process with an environment of its own needs to have the same clock as this one."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}
