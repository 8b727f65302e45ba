"""Detects when the `make` process that started the supervisor is interrupted or ends.

A terminal's Ctrl-C reaches make and the supervisor alike, and make forwards SIGTERM. But make does not
forward a SIGINT that was sent to it alone, and a killed make forwards nothing: it would look stopped while
the stack runs on. Other parents are ignored: a shell that ends leaves its background jobs running on purpose.
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
    """Watches the parent process, if it is make.

    Args:
        pid: the process to watch; by default the parent.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getppid() if pid is None else pid
        status = self._status()
        # A make that ignores SIGINT (started in the background by a script) shows nothing.
        self._waits = _field(status, "Name") == "make" and self._catches(status)
        self._is_make = _field(status, "Name") == "make"

    def is_stop_requested(self) -> bool:
        """Return whether make handles an interrupt, or has ended."""
        if not self._is_make:
            return False
        status = self._status()
        if _field(status, "Name") != "make" or _field(status, "State").startswith("Z"):
            return True
        # make's handler first stops catching the signal.
        return self._waits and not self._catches(status)

    def _status(self) -> str:
        try:
            return Path(f"/proc/{self._pid}/status").read_text()
        except OSError:
            return ""

    @staticmethod
    def _catches(status: str) -> bool:
        return bool(int(_field(status, "SigCgt") or "0", 16) & _INTERRUPT)
