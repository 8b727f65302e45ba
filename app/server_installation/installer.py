"""Runs the steps of `vigie install --server`, and prints the changes and the duration of each step."""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

import psutil

from app.server_installation.account_step import (
    find_account_changes,
    find_command_changes,
    find_folder_changes,
    find_settings_changes,
)
from app.server_installation.broker_step import check_other_use, find_broker_changes
from app.server_installation.certificate_files import (
    find_certificate_changes,
    find_certificate_source,
    find_listener_changes,
)
from app.server_installation.changes import MachineChange
from app.server_installation.database_step import find_cluster_changes, find_database_changes
from app.server_installation.installation_context import InstallationContext
from app.server_installation.pending_units import load_pending_units, store_pending_units
from app.server_installation.server_options import ServerOptions, read_options
from app.server_installation.server_paths import BROKER_UNIT, CERTIFICATE_COPY, PROXY_UNIT, ServerPaths
from app.server_installation.system_commands import run_program
from app.server_installation.unit_step import find_proxy_changes, find_start_changes, find_unit_changes
from app.standalone.private_mosquitto import find_mosquitto
from app.standalone.private_postgres import find_postgres_binaries
from app.standalone.process_commands import count_api_workers
from app.standalone.unprivileged_accounts import StandaloneError, find_program

type ChangeFinder = Callable[[InstallationContext], list[MachineChange]]

_CERTIFICATE_TIMEOUT_S: Final = 60.0


def find_first_certificate_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the broker waits for the first certificate that Caddy obtains."""
    options = context.options
    if not options.name or options.certificate or (context.paths.broker_settings / CERTIFICATE_COPY).exists():
        return []
    title = (
        f"open the TLS listener of boxes, once Caddy has a certificate ({_CERTIFICATE_TIMEOUT_S:g} s at most)"
    )
    return [MachineChange(title, lambda: _wait_for_certificate(context.paths))]


def _wait_for_certificate(paths: ServerPaths) -> None:
    until = time.monotonic() + _CERTIFICATE_TIMEOUT_S
    while find_certificate_source(read_server_options(paths), paths) is None:
        if time.monotonic() > until:
            sys.stdout.write(
                "                it has none yet: see `journalctl -u caddy`. vigie-certificate.timer opens\n"
                "                the listener later.\n"
            )
            return
        time.sleep(1)
    copy_renewed_certificate(paths)


_START: Final = "start"
STEPS: Final[tuple[tuple[str, ChangeFinder], ...]] = (
    ("system account", find_account_changes),
    ("folders", find_folder_changes),
    ("PostgreSQL", find_cluster_changes),
    ("settings", find_settings_changes),
    ("database", find_database_changes),
    ("certificate", find_certificate_changes),
    ("broker", find_broker_changes),
    ("units", find_unit_changes),
    ("proxy", find_proxy_changes),
    ("command", find_command_changes),
    (_START, find_start_changes),
    ("TLS of boxes", find_first_certificate_changes),
)
"""The steps in their order: each one finds its changes after those of earlier steps were applied."""

_PROGRAMS: Final = ("systemctl", "pg_createcluster", "psql", "runuser", "useradd")


def read_server_options(paths: ServerPaths) -> ServerOptions:
    """Read the stored options, with this machine's defaults.

    Raises:
        StandaloneError: The file is invalid.
    """
    return read_options(paths.options_file, ServerOptions(workers=count_api_workers(os.cpu_count() or 1)))


def install_server(options: ServerOptions, paths: ServerPaths, *, dry_run: bool) -> int:
    """Install or update a server; returns the number of changes.

    Raises:
        StandaloneError: A requirement is missing, or a step failed. Earlier changes stay, and the next run
            continues from there.
    """
    options.check()
    check_requirements(options, paths, dry_run=dry_run)
    context = InstallationContext(paths, options, psutil.virtual_memory().total)
    load_pending_units(context)
    total = 0
    for title, find_changes in STEPS:
        began = time.monotonic()
        changes = find_changes(context)
        for change in changes:
            sys.stdout.write(f"{title:<15} {'would ' if dry_run else ''}{change.title}\n")
            sys.stdout.flush()
            if not dry_run:
                change.apply()
                store_pending_units(context)
        if title == _START and not dry_run:
            context.restart.clear()
            context.reload.clear()
            store_pending_units(context)
        total += len(changes)
        done = f"{len(changes)} change{'' if len(changes) == 1 else 's'}" if changes else "unchanged"
        sys.stdout.write(f"{title:<15} {done}, {time.monotonic() - began:.1f} s\n")
    return total


def check_requirements(options: ServerOptions, paths: ServerPaths, *, dry_run: bool = False) -> None:
    """Check that systemd runs, the programs of a server are installed, and the caller is root.

    A dry run needs no release in its place: deploy/install.sh only names it.

    Raises:
        StandaloneError: Something is missing; the message says what to do.
    """
    if os.geteuid() != 0:
        raise StandaloneError("installing a server changes the system: run it as root (sudo)")
    missing = [name for name in _PROGRAMS if find_program(name) is None]
    missing += [] if find_postgres_binaries() else ["PostgreSQL 17"]
    missing += [] if find_mosquitto() else ["Mosquitto"]
    missing += ["Caddy"] if options.name and find_program("caddy") is None else []
    if missing:
        raise StandaloneError(
            f"missing: {', '.join(missing)}. Run `sh deploy/install.sh --server` in a clone of Vigie"
        )
    if not (paths.root / "run/systemd/system").is_dir():
        raise StandaloneError(
            "systemd does not run on this machine, and a server needs it. Use Debian 13 with systemd, or"
            " containers (docs/operations/containers.md)"
        )
    if not dry_run and not paths.current.is_symlink():
        raise StandaloneError(
            f"{paths.current} is missing: `sh deploy/install.sh --server` in a clone of Vigie makes it"
        )
    check_other_use(paths)


def copy_renewed_certificate(paths: ServerPaths) -> int:
    """Copy a renewed certificate, and reload the broker and Caddy; returns the number of changes.

    A reload that failed is tried again by the next run, although the copies are right then.

    Raises:
        StandaloneError: The certificate would not work, or a reload failed.
    """
    # The unit of this command hides /proc/meminfo, and these steps do not need the memory size.
    context = InstallationContext(paths, read_server_options(paths), total_bytes=0, command="certificate")
    load_pending_units(context)
    total = 0
    for find_changes in (find_certificate_changes, find_listener_changes):
        for change in find_changes(context):
            total += 1
            sys.stdout.write(f"{change.title}\n")
            change.apply()
            store_pending_units(context)
    if not _apply_pending_units(context) and not total:
        sys.stdout.write("The certificate is unchanged.\n")
    return total


def _apply_pending_units(context: InstallationContext) -> int:
    """Restart or reload the broker and Caddy, if they are to be; returns the number of units.

    Raises:
        StandaloneError: One failed. The others were tried too.
    """
    units = sorted((context.restart | context.reload) & {BROKER_UNIT, PROXY_UNIT})
    failures = []
    for unit in units:
        verb = "restart" if unit in context.restart else "reload"
        sys.stdout.write(f"{verb} {unit}\n")
        try:
            run_program("systemctl", verb, unit)
        except StandaloneError as error:
            failures.append(str(error))
            continue
        context.restart.discard(unit)
        context.reload.discard(unit)
        store_pending_units(context)
    if failures:
        raise StandaloneError("\n".join(failures))
    return len(units)
