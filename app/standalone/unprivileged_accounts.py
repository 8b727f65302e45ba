"""Finds the unprivileged accounts and commands with which services run when Vigie runs as root.

PostgreSQL refuses to run as root, and an attacker of the broker must not get its rights. Other users run the
services under their own account. No permissions are changed.
"""

import os
import pwd
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FILES = 1_048_576  # the highest limit of Linux without further settings


class StandaloneError(Exception):
    """A requirement of the stack is missing or failed; the message says how to fix it."""


@dataclass(frozen=True, slots=True)
class SystemAccount:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int


def find_service_account(*names: str) -> SystemAccount | None:
    """Return the first of `names` that exists; None if not root, since services then run as the current user.

    Raises:
        StandaloneError: root, and none of them exists.
    """
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return SystemAccount(name, entry.pw_uid, entry.pw_gid)
    raise StandaloneError(f"no account to run a service as ({' or '.join(names)}); `make install` creates it")


def find_program(name: str, *folders: str) -> Path | None:
    """Find a program in `folders`, then in PATH, then in the system's folders."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), SYSTEM_PATH])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def build_run_as_command(
    account: SystemAccount | None, arguments: Sequence[str], *, death_signal: str = "TERM"
) -> list[str]:
    """Build the command line that runs `arguments` as `account` and signals them when their parent dies.

    `setpriv` first changes the user, which would clear the death signal, then sets the signal, then executes
    the program. The process id stays the same, and no Python runs between fork and exec.
    """
    setpriv = find_program("setpriv")
    if setpriv is None:
        raise StandaloneError("`setpriv` is missing: apt-get install util-linux")
    user = [] if account is None else [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    return [str(setpriv), *user, f"--pdeathsig={death_signal}", "--", *arguments]


def build_file_limit_command(arguments: Sequence[str]) -> list[str]:
    """Build the command line that runs `arguments` with the highest possible number of open files.

    The default of a login is 1,024, which would limit the number of connections.
    """
    prlimit = find_program("prlimit")
    if prlimit is None:
        raise StandaloneError("`prlimit` is missing: apt-get install util-linux")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    return [str(prlimit), f"--nofile={enough}:", "--", *arguments]


def can_reach(account: SystemAccount | None, folder: Path) -> bool:
    """Return whether `account` may pass through `folder` and everything above it.

    The check runs a program instead of computing mode bits, since ACLs and mount options count too.
    """
    if account is None:
        return os.access(folder, os.X_OK)
    arguments = build_run_as_command(account, ["test", "-x", str(folder)])
    done = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        arguments, cwd="/", check=False, capture_output=True, timeout=10
    )
    return done.returncode == 0
