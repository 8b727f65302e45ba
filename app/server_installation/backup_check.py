"""Checks the backups of a server for `vigie doctor`."""

from collections.abc import Iterator
from typing import Final

from app.server_installation.installation_context import is_unit_active
from app.server_installation.server_paths import ServerPaths
from app.standalone.doctor import DoctorFinding

_GUIDE: Final = "docs/operations/backups.md"
_TIMERS: Final = ("vigie-backup.timer", "vigie-backup-verify.timer")


def check_backups(paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Check whether backups are configured, and whether their timers run."""
    subject = "backups"
    if not paths.env_file("backup").exists():
        yield DoctorFinding("note", subject, "none are configured", _GUIDE)
    elif idle := [timer for timer in _TIMERS if not is_unit_active(timer)]:
        fix = f"systemctl enable --now {' '.join(idle)}"
        yield DoctorFinding("missing", subject, f"{', '.join(idle)} does not run", fix)
    else:
        yield DoctorFinding("ok", subject, "are made and verified by timers; `vigie backup list` lists them")
