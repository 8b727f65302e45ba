"""Replaces files atomically: a reader sees either the old content or the new one, never a part."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write `text` beside `path` and rename it into place.

    Args:
        path: the file; its folder exists.
        text: the whole new content, written as UTF-8.
        mode: permission bits. By default those of the file that is replaced, else 0600. Owner and group
            are those of the file that is replaced; for a new file the folder decides (its set-group-id bit).

    Raises:
        OSError: the folder cannot be written. The old file is unchanged.
    """
    old = path.stat() if path.exists() else None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if old is not None:
                # Only root may change the owner. Otherwise the writer stays the owner, which grants no
                # rights.
                with suppress(PermissionError):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            permissions = (
                mode if mode is not None else stat.S_IMODE(old.st_mode) if old is not None else 0o600
            )
            os.fchmod(file.fileno(), permissions)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
