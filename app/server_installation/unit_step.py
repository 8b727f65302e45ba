"""Installs the units of systemd and Caddy's configuration, and starts everything."""

import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Final

from app.server_installation.changes import DesiredPath, MachineChange, find_path_changes
from app.server_installation.deploy_files import list_unit_files, render_deploy_file
from app.server_installation.installation_context import (
    InstallationContext,
    is_unit_active,
    is_unit_enabled,
)
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import (
    BROKER_UNIT,
    CERTIFICATE_COPY,
    CERTIFICATE_UNITS,
    CLUSTER_UNIT,
    EDGE,
    PROXY_UNIT,
    RELOAD_PATH_UNIT,
    TARGET,
    ServerPaths,
)
from app.server_installation.system_commands import read_program_output, run_program
from app.standalone.unprivileged_accounts import StandaloneError

_READY_TIMEOUT_S: Final = 90.0
_CERTIFICATE_PATH: Final = CERTIFICATE_UNITS[1]
_EDGE_UNIT: Final = f"vigie-{EDGE}.service"
_OTHER_MACHINES: Final = ".service.d/other-machines.conf"
_IMPORT: Final = "import vigie.caddyfile\n"
_NO_SITE: Final = "# This server has no public name: `vigie install --server --name HOST` gives it one.\n"
# A line of Debian's sample Caddyfile. A file with this line is unchanged and may be replaced.
_DEBIAN_SITE: Final = "root * /usr/share/caddy"


def list_enabled_units(options: ServerOptions) -> list[str]:
    """List the units that start with the machine or with the target."""
    units = [TARGET, *_list_process_units(options), RELOAD_PATH_UNIT]
    if options.name:
        units.append(CERTIFICATE_UNITS[0])
    if options.certificate:
        units.append(_CERTIFICATE_PATH)
    return units


def _list_process_units(options: ServerOptions) -> list[str]:
    return ["vigie-migrate.service", *(f"vigie-{role}.service" for role in options.roles)]


def render_unit(name: str, options: ServerOptions) -> str:
    """Render one unit."""
    values = {"certificate": options.certificate} if name == _CERTIFICATE_PATH else {}
    text = render_deploy_file(f"server/systemd/{name}", **values)
    return text.replace(CLUSTER_UNIT, options.database_unit)


def _list_unwanted(options: ServerOptions) -> list[str]:
    """List the units and drop-ins that a server with these options does not have."""
    unwanted = [] if options.certificate else [_CERTIFICATE_PATH]
    unwanted += [] if options.edge else [_EDGE_UNIT]
    if not options.has_other_machines:
        unwanted += [name for name in list_unit_files() if name.endswith(_OTHER_MACHINES)]
    return unwanted


def find_unit_changes(context: InstallationContext) -> list[MachineChange]:
    """Find units that are missing, differ, are not enabled, or belong to former options."""
    options, folder = context.options, context.paths.units
    unwanted = _list_unwanted(options)
    names = [name for name in list_unit_files() if not name.startswith(BROKER_UNIT) and name not in unwanted]
    folders = sorted({folder / Path(name).parent for name in names} - {folder})
    wanted = [DesiredPath(path, None, 0o755, "root", "root") for path in folders]
    wanted += [
        DesiredPath(folder / name, render_unit(name, options), 0o644, "root", "root") for name in names
    ]

    processes = {TARGET, *_list_process_units(options)}

    def note(path: Path) -> None:
        if path.name in processes or path.parent.name.removesuffix(".d") in processes:
            context.restart.add(TARGET)

    changes = [
        MachineChange(f"remove {name}", partial(_remove_unit, folder / name, context))
        for name in unwanted
        if (folder / name).exists()
    ]
    changes += find_path_changes(wanted, note)
    # The broker's step may have changed the drop-in of the broker's unit.
    if changes or any(_needs_reload(unit) for unit in (TARGET, BROKER_UNIT)):
        changes.append(
            MachineChange("have systemd read its units", lambda: run_program("systemctl", "daemon-reload"))
        )
    disabled = [unit for unit in list_enabled_units(options) if not is_unit_enabled(unit)]
    if disabled:
        changes.append(
            MachineChange(
                f"enable {', '.join(disabled)}", lambda: run_program("systemctl", "enable", *disabled)
            )
        )
    waiting = [unit for unit in list_enabled_units(options) if unit.endswith((".path", ".timer"))]
    if idle := [unit for unit in waiting if not is_unit_active(unit)]:
        changes.append(
            MachineChange(f"start {', '.join(idle)}", lambda: run_program("systemctl", "start", *idle))
        )
    return changes


def _remove_unit(path: Path, context: InstallationContext) -> None:
    """Stop and remove a unit of former options, or remove a drop-in of another unit."""
    if path.suffix == ".conf":
        context.restart.add(TARGET)
    else:
        run_program("systemctl", "disable", "--now", path.name)
    path.unlink()


def _needs_reload(unit: str) -> bool:
    return read_program_output("systemctl", "show", "--property=NeedDaemonReload", "--value", unit) == "yes"


def render_proxy_conf(options: ServerOptions, paths: ServerPaths) -> str:
    """Render Caddy's configuration for the API."""
    copy = paths.proxy_settings / "vigie" / CERTIFICATE_COPY
    tls = f"tls {copy} {copy}" if options.certificate else "# Caddy obtains the certificate, and renews it."
    return render_deploy_file(
        "server/caddy/vigie.caddyfile", name=options.name, api_port=options.api_port, tls=tls
    )


def find_proxy_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether Caddy is configured differently, or does not run.

    Without a public name it need not run, and must not serve the API under a former one.
    """
    options, paths = context.options, context.paths
    if not options.name:
        return _find_withdrawal(context)
    main = paths.proxy_settings / "Caddyfile"
    text = main.read_text(encoding="utf-8") if main.exists() else ""
    wanted = [
        DesiredPath(
            paths.proxy_settings / "vigie.caddyfile", render_proxy_conf(options, paths), 0o644, "root", "root"
        )
    ]
    if _IMPORT not in text:
        # An administrator's own sites stay; Debian's sample is replaced.
        others = "" if _DEBIAN_SITE in text else text
        wanted.append(DesiredPath(main, f"{others}{_IMPORT}", 0o644, "root", "root"))
    changes = find_path_changes(wanted, lambda _: context.reload.add(PROXY_UNIT))
    if not is_unit_enabled(PROXY_UNIT):
        changes.append(
            MachineChange(f"enable {PROXY_UNIT}", lambda: run_program("systemctl", "enable", PROXY_UNIT))
        )
    if not is_unit_active(PROXY_UNIT):
        changes.append(MachineChange(f"start {PROXY_UNIT}", lambda: context.restart.add(PROXY_UNIT)))
    return changes


def _find_withdrawal(context: InstallationContext) -> list[MachineChange]:
    path = context.paths.proxy_settings / "vigie.caddyfile"
    if not path.exists():
        return []
    # Not removed: the Caddyfile imports it.
    wanted = DesiredPath(path, _NO_SITE, 0o644, "root", "root")
    return find_path_changes([wanted], lambda _: context.reload.add(PROXY_UNIT))


def find_start_changes(context: InstallationContext) -> list[MachineChange]:
    """Find units to restart, reload or start after the changes of earlier steps."""
    changes = [
        MachineChange(f"restart {unit}", partial(run_program, "systemctl", "restart", unit))
        for unit in sorted(context.restart - {TARGET})
    ]
    changes += [
        MachineChange(f"reload {unit}", partial(run_program, "systemctl", "reload-or-restart", unit))
        for unit in sorted(context.reload - context.restart)
    ]
    units = [f"vigie-{role}.service" for role in context.options.roles]
    running = [unit for unit in units if is_unit_active(unit)]
    release = context.paths.current.resolve()
    if running and (
        TARGET in context.restart or any(find_running_release(unit) != release for unit in running)
    ):
        # Restarts the units that run. A new edge takes over the session that ingest has at the broker.
        changes.append(
            MachineChange(f"restart {TARGET}", lambda: run_program("systemctl", "restart", TARGET))
        )
    if len(running) < len(units) or not is_unit_active(TARGET):
        # `_start` also resets units that reached their limit of restarts.
        changes.append(MachineChange(f"start {TARGET}", lambda: _start(units)))
    if changes:
        url = f"http://127.0.0.1:{context.options.api_port}/readyz"
        changes.append(MachineChange(f"wait until {url} answers 200", lambda: wait_until_ready(url)))
    return changes


def _start(units: list[str]) -> None:
    run_program("systemctl", "reset-failed", "vigie-*")
    run_program("systemctl", "start", TARGET, *units)


def find_running_release(unit: str) -> Path | None:
    """Return the release from which a unit's process was started; None if it does not run."""
    pid = read_program_output("systemctl", "show", "--property=MainPID", "--value", unit)
    if not pid.isdecimal() or int(pid) == 0:
        return None
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    # The first word is the interpreter of the script: /opt/vigie/releases/RELEASE/bin/python.
    return Path(words[0].decode()).parent.parent


def wait_until_ready(url: str, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Wait until `/readyz` answers 200.

    Raises:
        StandaloneError: It does not within the timeout; the message has the last answer.
    """
    until = time.monotonic() + timeout_s
    last = "no answer"
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (a constant scheme and host)
                return
        except urllib.error.HTTPError as error:
            last = error.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            last = str(error)
        time.sleep(0.5)
    raise StandaloneError(
        f"{url} does not answer 200 after {timeout_s:g} s: {last}\n"
        "  See `journalctl --unit 'vigie-*' --since -5min`, and `vigie doctor`"
    )
