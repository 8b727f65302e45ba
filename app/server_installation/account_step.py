"""Creates the system account, the folders, the settings and the command of a server."""

from app.platform.secrets.sealing import generate_encryption_key
from app.server_installation.changes import DesiredPath, MachineChange, find_path_changes
from app.server_installation.deploy_files import render_deploy_file
from app.server_installation.installation_context import InstallationContext, find_cluster_port
from app.server_installation.rendered_settings import render_gateway_account, render_settings
from app.server_installation.server_options import ServerOptions, render_options
from app.server_installation.server_paths import ACCOUNT, BROKER_ACCOUNT, TARGET, ServerPaths
from app.server_installation.server_secrets import load_or_generate_secrets
from app.server_installation.system_commands import read_program_output, run_program


def find_account_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the system account is missing. It has no login shell and owns no program."""
    if read_program_output("getent", "passwd", ACCOUNT):
        return []
    command = ("useradd", "--system", "--user-group", "--no-create-home")
    home = ("--home-dir", str(context.paths.state), "--shell", "/usr/sbin/nologin")
    return [
        MachineChange(f"create the system account {ACCOUNT}", lambda: run_program(*command, *home, ACCOUNT))
    ]


def find_folder_changes(context: InstallationContext) -> list[MachineChange]:
    """Find folders that are missing or have other rights."""
    paths = context.paths
    return find_path_changes(
        [
            DesiredPath(paths.settings, None, 0o750, "root", ACCOUNT),
            # The broker's account may enter this folder, but not list it.
            DesiredPath(paths.state, None, 0o711, "root", "root"),
            # With the set-group-id bit the broker may read what Vigie's processes write here.
            DesiredPath(paths.broker_state, None, 0o2750, ACCOUNT, BROKER_ACCOUNT),
            DesiredPath(paths.broker_settings, None, 0o750, "root", BROKER_ACCOUNT),
        ]
    )


def find_settings_changes(context: InstallationContext) -> list[MachineChange]:
    """Find settings that are missing or differ. Secrets stay, and are generated where they are missing."""
    paths = context.paths
    secrets = load_or_generate_secrets(paths)
    texts = render_settings(context.options, secrets, paths, database_port=find_cluster_port())
    wanted = [
        DesiredPath(paths.options_file, render_options(context.options), 0o640, "root", ACCOUNT),
        *(DesiredPath(paths.env_file(name), text, 0o640, "root", ACCOUNT) for name, text in texts.items()),
        DesiredPath(paths.gateway_file, render_gateway_account(secrets), 0o600, "root", "root"),
    ]
    changes = find_path_changes(wanted, lambda _: context.restart.add(TARGET))
    # An existing key is never replaced: only this key decrypts the values that it encrypted. It may be a copy
    # from another machine, where the account has another number.
    text = paths.keys_file.read_text(encoding="utf-8") if paths.keys_file.exists() else ""
    key = DesiredPath(paths.keys_file, text or f"{generate_encryption_key()}\n", 0o600, ACCOUNT, ACCOUNT)
    changes += find_path_changes([key])
    return changes


def find_command_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the administrators' command `vigie` is missing or differs."""
    text = render_deploy_file("server/vigie.sh")
    return find_path_changes([DesiredPath(context.paths.command, text, 0o755, "root", "root")])


def list_settings_files(options: ServerOptions, paths: ServerPaths) -> list[DesiredPath]:
    """List the files of settings with the rights that they must have, without their content."""
    names = ("vigie", "migrate", *options.roles)
    return [
        DesiredPath(paths.options_file, None, 0o640, "root", ACCOUNT),
        *(DesiredPath(paths.env_file(name), None, 0o640, "root", ACCOUNT) for name in names),
        DesiredPath(paths.gateway_file, None, 0o600, "root", "root"),
        DesiredPath(paths.keys_file, None, 0o600, ACCOUNT, ACCOUNT),
    ]
