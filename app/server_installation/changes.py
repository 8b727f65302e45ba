"""Describes changes to the machine, and finds files and folders that differ from their desired state."""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.platform.kernel.atomic_files import replace_file_text


@dataclass(frozen=True, slots=True)
class MachineChange:
    """A change that brings the machine to the desired state.

    Attributes:
        title: The change, beginning with a verb: `write /etc/vigie/api.env`.
        apply: Makes the change.
    """

    title: str
    apply: Callable[[], object]


@dataclass(frozen=True, slots=True)
class DesiredPath:
    """The desired state of a file or folder.

    Attributes:
        path: Its path.
        text: The content of a file; None: a folder.
        mode: Its permission bits.
        owner: Its account; None: as it is (in tests).
        group: Its group; None: as it is.
    """

    path: Path
    text: str | None
    mode: int
    owner: str | None = None
    group: str | None = None


def find_path_changes(
    wanted: Iterable[DesiredPath], then: Callable[[Path], object] | None = None
) -> list[MachineChange]:
    """Find the files and folders that are missing or differ.

    Args:
        wanted: The desired states, folders before their files.
        then: Called after each change.
    """
    return [
        MachineChange(title, partial(_make, each, then))
        for each in wanted
        if (title := _describe_difference(each)) is not None
    ]


def _describe_difference(wanted: DesiredPath) -> str | None:
    path = wanted.path
    if wanted.text is None and not path.is_dir():
        return f"create the folder {path} ({_rights(wanted)})"
    if wanted.text is not None and not path.exists():
        return f"write {path} ({_rights(wanted)})"
    if wanted.text is not None and path.read_text(encoding="utf-8", errors="replace") != wanted.text:
        return f"change {path}"
    found = path.stat()
    uid, gid = _ids(wanted)
    if (
        stat.S_IMODE(found.st_mode) != wanted.mode
        or uid not in {-1, found.st_uid}
        or gid not in {-1, found.st_gid}
    ):
        return f"set the rights of {path} ({_rights(wanted)})"
    return None


def _rights(wanted: DesiredPath) -> str:
    owners = f" {wanted.owner or ''}:{wanted.group or ''}" if wanted.owner or wanted.group else ""
    return f"{wanted.mode:04o}{owners}"


def _ids(wanted: DesiredPath) -> tuple[int, int]:
    """Return owner and group as numbers; -1 for any, and for an account that is still missing."""
    uid = gid = -1
    with suppress(KeyError):
        uid = pwd.getpwnam(wanted.owner).pw_uid if wanted.owner else -1
    with suppress(KeyError):
        gid = grp.getgrnam(wanted.group).gr_gid if wanted.group else -1
    return uid, gid


def _make(wanted: DesiredPath, then: Callable[[Path], object] | None) -> None:
    uid, gid = _ids(wanted)
    if wanted.text is None:
        wanted.path.mkdir(parents=True, exist_ok=True)
    else:
        # Only root may read the file until its owner is set: it may contain secrets.
        replace_file_text(wanted.path, wanted.text, mode=0o600)
    os.chown(wanted.path, uid, gid)
    wanted.path.chmod(wanted.mode)
    if then is not None:
        then(wanted.path)
