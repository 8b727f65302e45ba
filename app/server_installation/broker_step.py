"""Configures Debian's Mosquitto for Vigie, and starts it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from app.platform.broker.mosquitto_password_hash import format_password_line, verify_mosquitto_password
from app.server_installation.changes import DesiredPath, MachineChange, find_path_changes
from app.server_installation.deploy_files import render_deploy_file
from app.server_installation.installation_context import (
    InstallationContext,
    is_unit_active,
    is_unit_enabled,
)
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import (
    ACCOUNT,
    BROKER_ACCOUNT,
    BROKER_UNIT,
    CERTIFICATE_COPY,
    ServerPaths,
)
from app.server_installation.server_secrets import load_or_generate_secrets
from app.server_installation.system_commands import run_program
from app.standalone.mosquitto_config import ACCESS_RULES, choose_broker_limits
from app.standalone.unprivileged_accounts import StandaloneError

CONF: Final = "vigie.conf"
TLS_CONF: Final = "vigie-tls.conf"
EDGE_CONF: Final = "vigie-edge.conf"
# They decide who connects where.
_OF_ANOTHER_USE: Final = frozenset(
    {
        *("listener", "port", "bind_address", "per_listener_settings", "allow_anonymous", "bridge_address"),
        *("password_file", "acl_file", "psk_file", "plugin", "global_plugin", "auth_plugin", "connection"),
    }
)
DROP_IN: Final = "mosquitto.service.d/vigie.conf"


def render_broker_conf(options: ServerOptions, paths: ServerPaths, total_bytes: int) -> str:
    """Render the broker's configuration for a machine with this much memory."""
    return render_deploy_file(
        f"server/mosquitto/{CONF}",
        mqtt_port=options.mqtt_port,
        state=paths.state,
        broker_settings=paths.broker_settings,
        max_queued_bytes=choose_broker_limits(total_bytes).queued_bytes,
    )


def render_broker_tls_conf(options: ServerOptions, paths: ServerPaths) -> str:
    """Render the configuration of the TLS listener."""
    return render_deploy_file(
        f"server/mosquitto/{TLS_CONF}", mqtts_port=options.mqtts_port, broker_settings=paths.broker_settings
    )


def render_edge_conf(options: ServerOptions) -> str:
    """Render the configuration of the listener for the load balancer and the other machines."""
    return render_deploy_file(
        f"server/mosquitto/{EDGE_CONF}", mqtt_port=options.mqtt_port, edge_host=options.edge_host
    )


def find_broker_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the broker's configuration differs, or the broker does not run."""
    paths, options = context.paths, context.options

    def restart(_: Path) -> None:
        context.restart.add(BROKER_UNIT)

    configuration = [
        DesiredPath(
            paths.broker_conf / CONF,
            render_broker_conf(options, paths, context.total_bytes),
            0o644,
            "root",
            "root",
        ),
        DesiredPath(paths.units / "mosquitto.service.d", None, 0o755, "root", "root"),
        DesiredPath(
            paths.units / DROP_IN, render_deploy_file(f"server/systemd/{DROP_IN}"), 0o644, "root", "root"
        ),
    ]
    if options.edge:
        text = render_edge_conf(options)
        configuration.append(DesiredPath(paths.broker_conf / EDGE_CONF, text, 0o644, "root", "root"))
    if options.name and (paths.broker_settings / CERTIFICATE_COPY).exists():
        text = render_broker_tls_conf(options, paths)
        configuration.append(DesiredPath(paths.broker_conf / TLS_CONF, text, 0o644, "root", "root"))
    changes = find_path_changes(configuration, restart)
    changes += _find_withdrawal(options, paths, restart)
    # Mosquitto logs a warning if another account owns the file of access rules.
    rules = DesiredPath(
        paths.broker_settings / "acl", _name_writer(ACCESS_RULES), 0o640, BROKER_ACCOUNT, BROKER_ACCOUNT
    )
    changes += find_path_changes([rules], lambda _: context.reload.add(BROKER_UNIT))
    changes += _find_account_changes(context)
    if not is_unit_enabled(BROKER_UNIT):
        changes.append(
            MachineChange(f"enable {BROKER_UNIT}", lambda: run_program("systemctl", "enable", BROKER_UNIT))
        )
    if not is_unit_active(BROKER_UNIT):
        changes.append(MachineChange(f"start {BROKER_UNIT}", lambda: context.restart.add(BROKER_UNIT)))
    return changes


def _find_withdrawal(
    options: ServerOptions, paths: ServerPaths, restart: Callable[[Path], None]
) -> list[MachineChange]:
    """Find whether the broker still listens for a name or for machines that the server had before."""

    def remove(path: Path) -> None:
        path.unlink()
        restart(path)

    public = [paths.broker_conf / TLS_CONF, paths.broker_settings / CERTIFICATE_COPY]
    former = [*(() if options.name else public), *(() if options.edge else (paths.broker_conf / EDGE_CONF,))]
    return [MachineChange(f"remove {path}", partial(remove, path)) for path in former if path.exists()]


def _name_writer(rules: str) -> str:
    return rules.replace("Written by Vigie at each start", "Written by `vigie install --server`")


def check_other_use(paths: ServerPaths) -> None:
    """Check that Mosquitto is not configured for something else, before the first installation.

    Its accounts and access rules hold for all listeners: clients of another use would be locked out. Later
    on an administrator may add files.

    Raises:
        StandaloneError: It is; the message names the files.
    """
    if (paths.broker_conf / CONF).exists():
        return
    others = sorted(
        path for path in paths.broker_conf.glob("*.conf") if path.name not in {TLS_CONF, EDGE_CONF}
    )
    files = [paths.broker_conf.parent / "mosquitto.conf", *others]
    found = []
    for path in files:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        names = {line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")}
        if used := sorted(names & _OF_ANOTHER_USE):
            found.append(f"{path} ({', '.join(used)})")
    if found:
        raise StandaloneError(
            f"Mosquitto has another use on this machine: {'; '.join(found)}. Vigie's accounts and access "
            "rules would replace those: move these options away, or take another machine"
        )


def _find_account_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the accounts `ingest` and `gateway` are missing or have other passwords."""
    secrets = load_or_generate_secrets(context.paths)
    wanted = {"ingest": secrets.broker_password, "gateway": secrets.gateway_password}
    static = context.paths.broker_state / "passwords.static"
    passwords = context.paths.broker_state / "passwords"
    changes = []
    if not has_accounts(static, wanted):
        text = "".join(f"{format_password_line(*account)}\n" for account in wanted.items())
        changes += find_path_changes([DesiredPath(static, text, 0o640, ACCOUNT, BROKER_ACCOUNT)])
    if not passwords.exists():
        # The broker does not start without it. `maintain` adds the boxes.
        changes.append(
            MachineChange(
                f"write {passwords} (0640 {ACCOUNT}:{BROKER_ACCOUNT})", lambda: _copy(static, passwords)
            )
        )
    return changes


def has_accounts(path: Path, accounts: dict[str, str]) -> bool:
    """Return whether a password file has exactly these accounts with these passwords."""
    if not path.exists():
        return False
    found = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
    return found.keys() == accounts.keys() and all(
        verify_mosquitto_password(password, found[name]) for name, password in accounts.items()
    )


def _copy(static: Path, passwords: Path) -> None:
    wanted = DesiredPath(passwords, static.read_text(encoding="utf-8"), 0o640, ACCOUNT, BROKER_ACCOUNT)
    for change in find_path_changes([wanted]):
        change.apply()
