"""The unprivileged accounts that services run as when Vigie runs as root.

PostgreSQL refuses root, and a broker that strangers speak to should not have its powers. Anybody but
root runs the services as themselves. This module changes no permission of anything.
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
_FILES = 1_048_576  # what Linux allows one process at most without further settings


class StandaloneError(Exception):
    """Something that the embedded stack needs is missing or failed; the text says how to mend it."""


@dataclass(frozen=True, slots=True)
class SystemAccount:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int


def find_service_account(*names: str) -> SystemAccount | None:
    """The first of `names` that exists; None when not root: services then run as the invoking user.

    Raises:
        EmbeddedError: root, and none of them exists.
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
    raise StandaloneError(f"no account to run a service as ({' or '.join(names)}); `make install` brings it")


def find_program(name: str, *folders: str) -> Path | None:
    """Where a program is: in `folders` first, then in PATH, then in the system's own folders."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), SYSTEM_PATH])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def build_run_as_command(
    account: SystemAccount | None, arguments: Sequence[str], *, death_signal: str = "TERM"
) -> list[str]:
    """The command line that runs `arguments` as `account`, and ends them when their parent dies.

    `setpriv` first changes the user, which would clear the death signal, then asks for the signal, then
    becomes the program: the process keeps its number, and no Python runs between fork and exec.
    """
    setpriv = find_program("setpriv")
    if setpriv is None:
        raise StandaloneError("`setpriv` is missing: apt-get install util-linux")
    user = [] if account is None else [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    return [str(setpriv), *user, f"--pdeathsig={death_signal}", "--", *arguments]


def build_file_limit_command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs `arguments` with as many open files as the system allows.

    A login may open 1,024 by itself, and a service that asks for no more has no room for more connections.
    """
    prlimit = find_program("prlimit")
    if prlimit is None:
        raise StandaloneError("`prlimit` is missing: apt-get install util-linux")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    return [str(prlimit), f"--nofile={enough}:", "--", *arguments]


def can_reach(account: SystemAccount | None, folder: Path) -> bool:
    """Tell whether `account` may pass through `folder` and everything above it.

    Asked of the system itself rather than computed from mode bits: ACLs and mount options count too.
    """
    if account is None:
        return os.access(folder, os.X_OK)
    arguments = build_run_as_command(account, ["test", "-x", str(folder)])
    done = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        arguments, cwd="/", check=False, capture_output=True, timeout=10
    )
    return done.returncode == 0
