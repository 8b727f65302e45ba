"""Notices that the `make` which started the supervisor was told to stop.

A terminal's Ctrl-C reaches make and the supervisor alike, and make hands SIGTERM on. But make keeps a
SIGINT that was sent to it alone for itself, and a killed make tells nobody: both times it would look
stopped while the stack goes on. Parents other than make are none of our business: a shell that ends leaves
its background jobs running on purpose.
"""

import os
import signal
from pathlib import Path

_INTERRUPT = 1 << (signal.SIGINT - 1)


def _field(status: str, name: str) -> str:
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


class MakeWatch:
    """Whether our parent, where it is make, has been told to stop.

    Args:
        pid: the process to watch; our parent by default.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getppid() if pid is None else pid
        status = self._status()
        # One that ignores SIGINT (started in the background by a script) cannot be told by it.
        self._waits = _field(status, "Name") == "make" and self._catches(status)
        self._is_make = _field(status, "Name") == "make"

    def told_to_stop(self) -> bool:
        """True once make handles an interrupt, or is gone."""
        if not self._is_make:
            return False
        status = self._status()
        if _field(status, "Name") != "make" or _field(status, "State").startswith("Z"):
            return True
        # The first thing that make's handler does is to give up catching the signal.
        return self._waits and not self._catches(status)

    def _status(self) -> str:
        try:
            return Path(f"/proc/{self._pid}/status").read_text()
        except OSError:
            return ""

    @staticmethod
    def _catches(status: str) -> bool:
        return bool(int(_field(status, "SigCgt") or "0", 16) & _INTERRUPT)
