"""Reports readiness, state and liveness to the service manager, by systemd's protocol (`sd_notify`).

Each report is one datagram to the socket that `NOTIFY_SOCKET` names. Without that variable nothing is sent.
`vigie api --workers` speaks the same protocol to its workers.

The watchdog is fed by a task of the event loop, and only while the process's own work loop makes progress:
systemd restarts a process whose event loop blocks, or whose work hangs.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

NOTIFY_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"
STARTING: Final = "starting"
"""The state of a process that is not ready yet."""

READY: Final = b"READY=1"
WATCHDOG: Final = b"WATCHDOG=1"
_EVERY_S: Final = 1.0
# Room for two lost or late reports before the manager's timeout.
_REPORTS_PER_TIMEOUT: Final = 3
# A work loop turns within seconds; a database that hangs ends each statement after 30 s.
STALLED_S: Final = 300.0


class ReportedProcess(Protocol):
    """What the reports are about."""

    stop: asyncio.Event
    state: str
    progressed_at: float | None


class ServiceManager:
    """Sends reports to the service manager.

    Args:
        address: The path of its socket; `@` begins an abstract one; empty: there is no manager.
        watchdog_s: How long it waits for a sign of life (s); None: for ever.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s if address else None
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            if address
            else None
        )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "ServiceManager":
        """Find the manager in the environment of this process."""
        watchdog_us = environ.get(WATCHDOG_VARIABLE, "")
        # The variables of a parent are not meant for its children.
        is_meant = environ.get(WATCHDOG_PID_VARIABLE, "") in {"", str(os.getpid())}
        has_watchdog = is_meant and watchdog_us.isdecimal() and int(watchdog_us) > 0
        return cls(environ.get(NOTIFY_VARIABLE, ""), int(watchdog_us) / 1e6 if has_watchdog else None)

    def send(self, *fields: str) -> None:
        """Send fields such as `READY=1`. A manager that is gone or busy is no error."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(fields).encode(), self._address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def report(
        self, process: ReportedProcess, clock: Callable[[], float] | None = None, every_s: float = _EVERY_S
    ) -> None:
        """Report the process until it stops.

        Args:
            process: The process.
            clock: The clock of `progressed_at`; by default the event loop's.
            every_s: The interval of checks.
        """
        if self._socket is None:
            return
        now = clock or asyncio.get_running_loop().time
        feed_s = None if self.watchdog_s is None else self.watchdog_s / _REPORTS_PER_TIMEOUT
        is_ready, reported, fed_at = False, "", -float("inf")
        while not process.stop.is_set():
            if not is_ready and process.state != STARTING:
                is_ready = True
                self.send(READY.decode())
            if process.state != reported:
                reported = process.state
                self.send(f"STATUS={reported}")
            if feed_s is not None and now() - fed_at >= feed_s and has_progress(process, now()):
                fed_at = now()
                self.send(WATCHDOG.decode())
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    process.stop.wait(), every_s if feed_s is None else min(every_s, feed_s)
                )
        # Feed once more: from now on the manager's timeout for a stop holds.
        self.send("STOPPING=1", "STATUS=draining", WATCHDOG.decode())


def has_progress(process: ReportedProcess, now: float) -> bool:
    """Return whether the work loop has turned lately; True if the work has no loop of its own."""
    return process.progressed_at is None or now - process.progressed_at < STALLED_S
