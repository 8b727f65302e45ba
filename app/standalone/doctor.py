"""Checks the machine for `vigie doctor`: lists missing parts with the command that fixes each; read-only.

It also lists insecure settings: those that keep a process from starting, and those that were allowed.
"""

import ctypes
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from app.standalone import private_mosquitto, private_postgres
from app.standalone.data_directory import SYSTEM_SERVICES_ROOT, DataDirectory, find_stale_services
from app.standalone.free_ports import is_port_free
from app.standalone.orphan_processes import find_marked_orphans, find_postgres_orphans
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    can_reach,
    find_program,
    find_service_account,
)

if TYPE_CHECKING:
    from app.platform.config.platform_settings import SmtpSettings

_OLDEST_PYTHON = (3, 12)
_MIN_FREE_BYTES = 2**30
_API_PORT = 8000
_APT = "sudo apt-get install"
_PDF_LIBRARIES = {
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libharfbuzz-subset.so.0": "libharfbuzz-subset0",
}


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line: `ok`, `note` (works, but worth knowing) or `missing` (must be fixed)."""

    state: Literal["ok", "note", "missing"]
    subject: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        arrow = f"\n         fix: {self.fix}" if self.fix else ""
        return f"{self.state:<8} {self.subject}: {self.detail}{arrow}"


def run_doctor(data_dir: Path = Path(".vigie"), more: Iterable[DoctorFinding] = ()) -> int:
    """Print the findings, with `more` of them; returns 1 if something is missing, else 0."""
    return print_findings([*examine_machine(DataDirectory(data_dir.absolute())), *more])


def print_findings(findings: Iterable[DoctorFinding]) -> int:
    """Print each finding as it is found; returns 1 if something is missing, else 0."""
    missing = 0
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        missing += finding.state == "missing"
    sys.stdout.write("Everything is there.\n" if not missing else f"{missing} missing.\n")
    return 1 if missing else 0


def examine_machine(layout: DataDirectory) -> Iterator[DoctorFinding]:
    """Yield all findings, from the machine to the data directory."""
    yield check_python()
    yield from _settings()
    yield from _unknown_settings()
    yield from check_database_programs()
    yield check_broker_program()
    yield check_report_libraries()
    yield from _accounts()
    yield from _data_directory(layout)
    yield _disk(layout)
    yield _port()
    yield from _remains(layout)
    for folder in find_stale_services():
        yield DoctorFinding(
            "note", "stale services", f"{folder}: its data directory is gone", f"rm -r {folder}"
        )


def check_python() -> DoctorFinding:
    """Check the version of Python."""
    found = platform.python_version()
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return DoctorFinding(
            "missing", "Python", f"{found} is too old, 3.12 is needed", f"{_APT} python3 python3-venv"
        )
    return DoctorFinding("ok", "Python", found)


def _settings() -> Iterator[DoctorFinding]:
    # Imported here, because its dependencies may be missing.
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415
    from app.platform.secrets.sealing import derive_key_name  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415

    subject = "encryption key"
    try:
        encryption = read_settings().encryption
        names = [derive_key_name(key) for key in encryption.key_bytes()]
    except InvalidSettingsError as error:
        yield DoctorFinding(
            "missing", "settings", str(error), "correct the named setting (docs/operations/settings.md)"
        )
        return
    except ValueError as error:
        yield DoctorFinding("missing", subject, str(error), "correct VIGIE_ENCRYPTION__KEYS_FILE")
        return
    if not names:
        none = (
            "none is set: `vigie up` uses the one that it keeps (nothing to do); other processes "
            "need VIGIE_ENCRYPTION__KEYS (docs/operations/secrets.md)"
        )
        yield DoctorFinding("ok", subject, none)
        return
    also = f", also opens values of {', '.join(names[1:])}" if names[1:] else ""
    yield DoctorFinding("ok", subject, f"seals with {names[0]}{also}")


def _unknown_settings() -> Iterator[DoctorFinding]:
    """Yield a finding for each variable that matches no setting."""
    from app.standalone.startup_settings_check import describe_unknown_setting, find_unknown_settings  # noqa: PLC0415 (as above)

    for each in find_unknown_settings():
        fix = f"write {each.nearest}" if each.nearest else "remove it, unless another program uses it"
        yield DoctorFinding("note", "unknown setting", describe_unknown_setting(each), fix)


def check_mail_server(
    fault_of: "Callable[[SmtpSettings], tuple[str, str] | None]",
) -> Iterator[DoctorFinding]:
    """Yield the finding on the mail server; nothing if none is set.

    Args:
        fault_of: Returns the name and the fault of an invalid variable; None if all are valid.
    """
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415 (as below)
    from app.settings import read_settings  # noqa: PLC0415 (as below)

    subject = "mail server"
    try:
        smtp = read_settings().smtp
    except InvalidSettingsError:
        return  # reported by `_settings`
    if smtp.host is None:
        return
    if fault := fault_of(smtp):
        variable, why = fault
        yield DoctorFinding("missing", subject, f"{variable}: {why}", f"correct {variable} (docs/email.md)")
    else:
        yield DoctorFinding("ok", subject, f"{smtp.host}, port {smtp.port}, {smtp.security}; not contacted")


def check_report_libraries() -> DoctorFinding:
    """Check whether reports can be rendered as PDF; HTML always works."""
    absent = [package for library, package in _PDF_LIBRARIES.items() if not _loads(library)]
    if absent:
        return DoctorFinding("note", "reports", "only as HTML: PDFs need more", f"{_APT} {' '.join(absent)}")
    return DoctorFinding("ok", "reports", "as HTML and PDF")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _run_program(path: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        [str(path), *arguments], check=False, capture_output=True, text=True, timeout=10
    )
    return done.stdout.strip()


def check_database_programs() -> Iterator[DoctorFinding]:
    """Check that PostgreSQL and TimescaleDB are installed."""
    folder = private_postgres.find_postgres_binaries()
    if folder is None:
        package = f"postgresql-{private_postgres.MAJOR}"
        fix = f"{_APT} {package} {package}-timescaledb"
        yield DoctorFinding(
            "missing", "PostgreSQL", f"version {private_postgres.MAJOR} is not installed", fix
        )
        return
    yield DoctorFinding("ok", "PostgreSQL", f"{_run_program(folder / 'postgres', '--version')} in {folder}")
    pg_config = folder / "pg_config"
    library = Path(_run_program(pg_config, "--pkglibdir")) if pg_config.exists() else folder.parent / "lib"
    share = (
        Path(_run_program(pg_config, "--sharedir"))
        if pg_config.exists()
        else Path("/usr/share/postgresql") / folder.parent.name
    )
    control = share / "extension" / "timescaledb.control"
    if not (library / "timescaledb.so").exists() or not control.exists():
        fix = f"{_APT} postgresql-{private_postgres.MAJOR}-timescaledb"
        yield DoctorFinding("missing", "TimescaleDB", f"no library in {library}", fix)
        return
    found = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text())
    version = found[1] if found else "of unknown version"
    # The community edition has an additional library; Debian ships the Apache edition only.
    community = any(library.glob("timescaledb-tsl-*.so"))
    yield DoctorFinding("ok", "TimescaleDB", f"{version}, {'community' if community else 'Apache'} edition")


def check_broker_program() -> DoctorFinding:
    """Check that Mosquitto is installed, in a version that works."""
    path = private_mosquitto.find_mosquitto()
    if path is None:
        return DoctorFinding("missing", "Mosquitto", "not installed", f"{_APT} mosquitto mosquitto-clients")
    version = private_mosquitto.read_mosquitto_version(path)
    shown = ".".join(map(str, version)) or "unknown version"
    if version < private_mosquitto.OLDEST:
        return DoctorFinding(
            "missing", "Mosquitto", f"{shown} is too old, 2.0 is needed", f"{_APT} mosquitto"
        )
    return DoctorFinding("ok", "Mosquitto", f"{shown} at {path}")


def _accounts() -> Iterator[DoctorFinding]:
    if find_program("setpriv") is None:
        yield DoctorFinding("missing", "setpriv", "not installed", f"{_APT} util-linux")
    if os.geteuid() != 0:
        yield DoctorFinding("ok", "accounts", "the services run as you")
        return
    for subject, names, package in (
        ("PostgreSQL", ("postgres",), f"postgresql-{private_postgres.MAJOR}"),
        ("Mosquitto", ("mosquitto", "nobody"), "mosquitto"),
    ):
        try:
            account = find_service_account(*names)
        except StandaloneError as error:
            yield DoctorFinding("missing", f"account of {subject}", str(error), f"{_APT} {package}")
        else:
            yield DoctorFinding("ok", f"account of {subject}", account.name if account else "you")


def _data_directory(layout: DataDirectory) -> Iterator[DoctorFinding]:
    subject, root = "data directory", layout.root
    if not root.exists():
        above = next(parent for parent in root.parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield DoctorFinding("ok", subject, f"{root} will be made by `vigie up`")
        else:
            yield DoctorFinding("missing", subject, f"{above} cannot be written", "vigie up --data-dir DIR")
        return
    owner = root.stat().st_uid
    if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK):
        yield DoctorFinding("missing", subject, f"{root} cannot be written", "vigie up --data-dir DIR")
        return
    if layout.instance() and layout.instance_file.stat().st_uid != os.geteuid():
        yield DoctorFinding("missing", subject, f"{root} belongs to user {owner}", "vigie up --data-dir DIR")
        return
    yield DoctorFinding(
        "ok",
        subject,
        f"{root}, {'in use by a running stack' if _is_locked(layout) else 'no stack runs on it'}",
    )
    if layout.services.is_symlink() and not layout.services.exists():
        gone = f"{layout.services.readlink()} is gone, and the database with it"
        yield DoctorFinding("missing", "services", gone, f"rm -r {root}")
    elif layout.services.is_symlink():
        yield DoctorFinding(
            "ok", "services", f"in {layout.services.readlink()}, where their accounts can reach them"
        )
    elif layout.services.exists() and os.geteuid() == 0 and not _reachable(layout.services):
        yield DoctorFinding(
            "note", "services", f"will move to {SYSTEM_SERVICES_ROOT}, where their accounts can reach them"
        )


def _reachable(folder: Path) -> bool:
    try:
        return can_reach(find_service_account("postgres"), folder)
    except StandaloneError:
        return True


def _is_locked(layout: DataDirectory) -> bool:
    if not layout.lock_file.exists():
        return False
    with layout.lock_file.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _disk(layout: DataDirectory) -> DoctorFinding:
    above = next(folder for folder in (layout.root, *layout.root.parents) if folder.exists())
    free = shutil.disk_usage(above).free
    shown = f"{free / 2**30:.1f} GiB free at {above}"
    if free < _MIN_FREE_BYTES:
        return DoctorFinding(
            "missing", "disk", f"{shown}, 1 GiB is needed", "free some, or vigie up --data-dir DIR"
        )
    return DoctorFinding("ok", "disk", shown)


def _port() -> DoctorFinding:
    if is_port_free(_API_PORT):
        return DoctorFinding("ok", "port", f"{_API_PORT} is free")
    return DoctorFinding("note", "port", f"{_API_PORT} is taken", "vigie up --port 0")


def _remains(layout: DataDirectory) -> Iterator[DoctorFinding]:
    if not layout.root.is_dir() or _is_locked(layout):
        return
    left = find_marked_orphans(layout.marker()) + find_postgres_orphans(layout.services / "postgres" / "data")
    if left:
        numbers = ", ".join(map(str, sorted(set(left))))
        yield DoctorFinding(
            "note", "leftovers", f"processes {numbers} of an earlier run", "vigie up (it ends them first)"
        )


_SUBJECT: Final = "insecure setting"


def check_security() -> Iterator[DoctorFinding]:
    """Yield all insecure settings, of any process; one `ok` line if there are none.

    Settings without a database are for `vigie up`. Findings that `vigie up` decides itself are left out then.
    """
    # Imported here, because its dependencies may be missing.
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415
    from app.platform.config.security_finding_catalogue import SECURITY_FINDING_TYPES  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415
    from app.standalone.startup_settings_check import check_stack_settings, find_security_findings  # noqa: PLC0415

    try:
        settings = read_settings()
    except InvalidSettingsError:
        return  # reported by `_settings`
    is_own_database = "url" in settings.database.model_fields_set
    found = (
        find_security_findings(settings)
        if is_own_database
        else check_stack_settings(settings, services=True)[1]
    )
    for each in found:
        known = SECURITY_FINDING_TYPES[each.code]
        allowed = each.code in settings.allow_insecure
        detail = f"{each.code}: {each.variable}: {known.danger}"
        if is_own_database and not allowed:
            stops = f"{detail}; keeps {', '.join(known.roles)} from starting"
            yield DoctorFinding("missing", _SUBJECT, stops, f"set {known.fix}")
        else:
            yield DoctorFinding(
                "note", _SUBJECT, f"{detail}{' (allowed)' if allowed else ''}", f"set {known.fix}"
            )
    if not found:
        yield DoctorFinding("ok", _SUBJECT, "none" if is_own_database else "none that concerns `vigie up`")
