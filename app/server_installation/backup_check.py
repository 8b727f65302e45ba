"""Checks the backups of a server for `vigie doctor`."""

from collections.abc import Iterator
from typing import Final

from app.server_installation.installation_context import is_unit_active, is_unit_failed
from app.server_installation.server_environment import read_process_environment, replaced_environment
from app.server_installation.server_paths import ServerPaths
from app.standalone.doctor import DoctorFinding
from app.standalone.doctor_database import check_recovery_bundle

_GUIDE: Final = "docs/operations/backups.md"
_UNITS: Final = ("vigie-backup", "vigie-backup-verify")


def check_backups(paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Check whether backups are configured, their timers run, and their last runs succeeded."""
    subject = "backups"
    if not paths.env_file("backup").exists():
        yield DoctorFinding("note", subject, "none are configured", _GUIDE)
    elif failed := [unit for unit in _UNITS if is_unit_failed(f"{unit}.service")]:
        for unit in failed:
            yield DoctorFinding(
                "missing", subject, f"the last run of {unit} failed", f"journalctl -u {unit} -n 50; {_GUIDE}"
            )
    elif idle := [f"{unit}.timer" for unit in _UNITS if not is_unit_active(f"{unit}.timer")]:
        fix = f"systemctl enable --now {' '.join(idle)}"
        yield DoctorFinding("missing", subject, f"{', '.join(idle)} does not run", fix)
    else:
        yield DoctorFinding("ok", subject, "are made and verified by timers; `vigie backup list` lists them")
    with replaced_environment(read_process_environment(paths, "maintain")):
        found = list(check_recovery_bundle())
    yield from found
