"""Checks a server for `vigie doctor`: programs, settings, services, database, broker, certificate, disk.

It changes nothing. Findings have the form of `app.standalone.doctor`.
"""

import grp
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.server_installation.account_step import list_settings_files
from app.server_installation.backup_check import check_backups
from app.server_installation.broker_step import TLS_CONF
from app.server_installation.certificate_files import (
    find_certificate_source,
    join_certificate,
    read_certificate,
)
from app.server_installation.changes import DesiredPath
from app.server_installation.database_check import check_database, check_postgres_cluster
from app.server_installation.installation_context import is_unit_enabled
from app.server_installation.installer import read_server_options
from app.server_installation.server_environment import (
    check_process_settings,
    read_process_environment,
    replaced_environment,
)
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import (
    BROKER_UNIT,
    CERTIFICATE_COPY,
    CLUSTER_UNIT,
    PROXY_UNIT,
    TARGET,
    ServerPaths,
)
from app.server_installation.system_commands import read_program_output
from app.server_installation.unit_step import find_running_release, list_enabled_units
from app.standalone.doctor import (
    DoctorFinding,
    check_broker_program,
    check_database_programs,
    check_python,
    check_report_libraries,
    print_findings,
)
from app.standalone.doctor_cluster import check_cluster
from app.standalone.private_mosquitto import can_log_in_to_broker
from app.standalone.unprivileged_accounts import StandaloneError

_INSTALL: Final = "sh deploy/install.sh --server (in a clone of Vigie)"
_MIN_FREE_BYTES: Final = 2 * 2**30
_MIN_FREE_SHARE: Final = 0.1
_NOTE_DAYS: Final = 21
_URGENT_DAYS: Final = 7
_DAY_S: Final = 86_400
_LOG_PASSWORD: Final = re.compile(r"^\s*password\b", re.MULTILINE)


def run_server_doctor(paths: ServerPaths) -> int:
    """Print the findings; returns 1 if something is missing, else 0."""
    return print_findings(examine_server(paths))


def examine_server(paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Yield all findings, from the programs to the certificate."""
    yield check_python()
    yield from check_database_programs()
    yield check_broker_program()
    yield check_report_libraries()
    if os.geteuid() != 0:
        yield DoctorFinding("missing", "account", "the settings are for root only", "sudo vigie doctor")
        return
    try:
        options = read_server_options(paths)
    except StandaloneError as error:
        yield DoctorFinding("missing", "options", str(error), f"fix {paths.options_file}")
        return
    yield from _check_settings_files(options, paths)
    yield from _check_log_settings(options, paths)
    yield from check_process_settings(paths, options.roles)
    yield from _check_services(options, paths)
    if not options.database_hosts:
        yield from check_postgres_cluster()
    yield from check_database(read_process_environment(paths, "migrate"))
    yield from _check_machines(paths)
    yield _check_broker_login(options, paths)
    yield from _check_certificate(options, paths)
    yield from _check_disks()
    yield from check_backups(paths)


def _check_machines(paths: ServerPaths) -> list[DoctorFinding]:
    """Check edges, the message log and all database hosts, with the settings of `vigie maintain`."""
    with replaced_environment(read_process_environment(paths, "maintain")):
        return list(check_cluster())


def _check_settings_files(options: ServerOptions, paths: ServerPaths) -> Iterator[DoctorFinding]:
    subject, wrong = "settings files", False
    for wanted in list_settings_files(options, paths):
        if not wanted.path.exists():
            wrong = True
            yield DoctorFinding("missing", subject, f"{wanted.path} does not exist", _INSTALL)
        elif (found := _describe_rights(wanted.path)) != (should := _describe_wanted(wanted)):
            wrong = True
            mode, owners = should.split()
            fix = f"chown {owners} {wanted.path} && chmod {mode} {wanted.path}"
            yield DoctorFinding("missing", subject, f"{wanted.path} is {found} instead of {should}", fix)
    if not wrong:
        yield DoctorFinding("ok", subject, f"in {paths.settings}, for root and Vigie only")


def _check_log_settings(options: ServerOptions, paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Report a configuration of NATS with a password that every account of the machine can read."""
    path = paths.log_conf
    if not options.edge or not path.exists() or not path.stat().st_mode & stat.S_IROTH:
        return
    if _LOG_PASSWORD.search(path.read_text(encoding="utf-8")):
        yield DoctorFinding(
            "missing",
            "settings files",
            f"{path} is {_describe_rights(path)}: every account can read the password of the message log",
            f"chown root:nats {path} && chmod 640 {path}",
        )


def _describe_rights(path: Path) -> str:
    found = path.stat()
    try:
        owners = f"{pwd.getpwuid(found.st_uid).pw_name}:{grp.getgrgid(found.st_gid).gr_name}"
    except KeyError:
        owners = f"{found.st_uid}:{found.st_gid}"
    return f"{stat.S_IMODE(found.st_mode):04o} {owners}"


def _describe_wanted(wanted: DesiredPath) -> str:
    return f"{wanted.mode:04o} {wanted.owner}:{wanted.group}"


def _check_services(options: ServerOptions, paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Yield the state of each unit, with its restarts, and whether it runs the current release."""
    subject = "services"
    database = options.database_unit
    units = [database, BROKER_UNIT, *([PROXY_UNIT] if options.name else []), *list_enabled_units(options)]
    stopped = [
        (unit, state)
        for unit in units
        if (state := read_program_output("systemctl", "is-active", unit) or "unknown") != "active"
    ]
    for unit, state in stopped:
        fix = f"journalctl -u {unit} -n 50, then: systemctl restart {unit}"
        yield DoctorFinding("missing", subject, f"{unit} is {state}", fix)
    # postgresql.service starts the cluster, so its own unit is not enabled.
    for unit in units:
        if unit != CLUSTER_UNIT and not is_unit_enabled(unit):
            yield DoctorFinding(
                "missing", subject, f"{unit} does not start with the machine", f"systemctl enable {unit}"
            )
    if not stopped:
        yield DoctorFinding("ok", subject, f"{len(units)} units are active")
    yield from _check_processes([unit for unit in units if unit.startswith("vigie-")], paths)


def _check_processes(units: list[str], paths: ServerPaths) -> Iterator[DoctorFinding]:
    release = paths.current.resolve()
    old = []
    for unit in units:
        restarts = read_program_output("systemctl", "show", "--property=NRestarts", "--value", unit)
        if restarts.isdecimal() and int(restarts):
            yield DoctorFinding(
                "note",
                "restarts",
                f"{unit} was restarted {restarts} times",
                f"journalctl -u {unit} -p warning",
            )
        running = find_running_release(unit)
        if running is not None and running != release:
            old.append(f"{unit} ({running.name})")
    if old:
        yield DoctorFinding(
            "missing", "release", f"{', '.join(old)} instead of {release.name}", f"systemctl restart {TARGET}"
        )
    else:
        yield DoctorFinding("ok", "release", release.name)


def _check_broker_login(options: ServerOptions, paths: ServerPaths) -> DoctorFinding:
    settings = read_process_environment(paths, "ingest")
    username = settings.get("VIGIE_BROKER__USERNAME", "ingest")
    password = settings.get("VIGIE_BROKER__PASSWORD", "")
    where = f"127.0.0.1:{options.mqtt_port}"
    if can_log_in_to_broker(options.mqtt_port, username, password):
        return DoctorFinding("ok", "broker", f"accepts {username} at {where}")
    return DoctorFinding(
        "missing",
        "broker",
        f"{where} does not accept the account {username}",
        f"journalctl -u {BROKER_UNIT}; {_INSTALL}",
    )


def _check_certificate(options: ServerOptions, paths: ServerPaths) -> Iterator[DoctorFinding]:
    """Check the certificate at its source, and the broker's copy."""
    subject = "certificate"
    if not options.name:
        yield DoctorFinding(
            "note",
            subject,
            "none: API and broker are on 127.0.0.1 only",
            f"{_INSTALL.replace(' (', ' --name HOST (')}",
        )
        return
    source = find_certificate_source(options, paths)
    if source is None:
        yield DoctorFinding(
            "missing",
            subject,
            f"Caddy has none for {options.name} yet",
            f"journalctl -u {PROXY_UNIT}; is port 80 or 443 reachable?",
        )
        return
    try:
        certificate = read_certificate(source.certificate)
    except StandaloneError as error:
        yield DoctorFinding("missing", subject, str(error), f"fix {paths.options_file}, then {_INSTALL}")
        return
    until = certificate.not_valid_after_utc
    days = (until - datetime.now(UTC)).total_seconds() / _DAY_S
    said = f"{source.certificate} is valid until {until:%Y-%m-%d %H:%M} UTC"
    # Certificates of Caddy's own authority are valid for half a day: shorter limits apply to them.
    lifetime = (until - certificate.not_valid_before_utc).total_seconds() / _DAY_S
    if days < min(_URGENT_DAYS, lifetime / 8):
        yield DoctorFinding("missing", subject, said, "renew it, then: systemctl start vigie-certificate")
    elif days < min(_NOTE_DAYS, lifetime / 4):
        yield DoctorFinding("note", subject, said, "renew it, then: systemctl start vigie-certificate")
    else:
        yield DoctorFinding("ok", subject, said)
    copy = paths.broker_settings / CERTIFICATE_COPY
    if not (paths.broker_conf / TLS_CONF).exists() or not copy.exists():
        yield DoctorFinding(
            "missing", subject, "the broker has no TLS listener yet", "systemctl start vigie-certificate"
        )
    elif copy.read_text(encoding="ascii") != join_certificate(source):
        yield DoctorFinding(
            "missing", subject, "the broker has an older one", "systemctl start vigie-certificate"
        )


def _check_disks() -> Iterator[DoctorFinding]:
    """Check the free space of the file systems that grow: of the database, the broker and the journal."""
    seen: set[int] = set()
    for folder, grows in (
        ("/var/lib/postgresql", "the database"),
        ("/var/lib/mosquitto", "the broker's queue"),
        ("/var/log", "logs"),
    ):
        path = next(each for each in (Path(folder), *Path(folder).parents) if each.exists())
        if (device := path.stat().st_dev) in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(path)
        said = f"{usage.free / 2**30:.1f} GiB free at {path} ({grows})"
        if usage.free < _MIN_FREE_BYTES:
            yield DoctorFinding("missing", "disk", said, "free some: without space nothing is stored")
        elif usage.free < usage.total * _MIN_FREE_SHARE:
            yield DoctorFinding("note", "disk", said, "it is nine tenths full")
        else:
            yield DoctorFinding("ok", "disk", said)
