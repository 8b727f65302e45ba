"""Prints the steps of a rehearsal with their seconds and outcomes, and runs its commands."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


class RehearsalError(Exception):
    """A step of a rehearsal failed, or had another outcome than expected."""


@dataclass(slots=True)
class RehearsalReport:
    """Prints steps, and counts those that failed."""

    began: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        sys.stdout.write(f"{time.monotonic() - self.began:7.1f} s  {text}\n")
        sys.stdout.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Time a step; yields a function that notes its outcome. A failure ends the rehearsal."""
        self.say(f"{title} ...")
        began, notes = time.monotonic(), list[str]()
        try:
            yield notes.append
        except (RehearsalError, AssertionError, OSError, subprocess.SubprocessError) as error:
            self.failures.append(title)
            self.say(f"{title}: FAILED after {time.monotonic() - began:.1f} s: {error}")
            raise RehearsalError(title) from error
        outcome = f": {'; '.join(notes)}" if notes else ""
        self.say(f"{title}: {time.monotonic() - began:.1f} s{outcome}")

    def end(self) -> int:
        """Print the result; returns the exit status."""
        self.say(f"failed: {', '.join(self.failures)}" if self.failures else "all steps succeeded")
        return 1 if self.failures else 0


def wait_for[T](what: str, find: Callable[[], T | None], timeout_s: float = 60.0, every_s: float = 0.2) -> T:
    """Wait until `find` returns something true.

    Raises:
        RehearsalError: It does not within the timeout.
    """
    until = time.monotonic() + timeout_s
    while True:
        if found := find():
            return found
        if time.monotonic() > until:
            raise RehearsalError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)


def run_command(words: Sequence[str], *, timeout_s: float = 600.0, text: str | None = None) -> str:
    """Run a command on this machine, and return what it printed.

    Raises:
        RehearsalError: It failed; the message has its last lines.
    """
    done = subprocess.run(  # noqa: S603 (no shell, and the words are the rehearsal's)
        list(words), capture_output=True, text=True, timeout=timeout_s, check=False, input=text
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise RehearsalError(f"`{' '.join(words)}` exited with {done.returncode}:\n{tail}")
    return done.stdout + done.stderr


def install_packages(packages: Sequence[str]) -> None:
    """Install the Debian packages that are missing.

    Raises:
        RehearsalError: apt-get failed, for example as this is not root.
    """
    found = subprocess.run(  # noqa: S603 (no shell, and the words are the rehearsal's)
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    if missing := [name for name in packages if f"{name} installed" not in found]:
        apt = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install"]
        run_command(["env", "DEBIAN_FRONTEND=noninteractive", *apt, *missing])
