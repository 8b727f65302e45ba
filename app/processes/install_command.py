"""Runs `vigie install --server` and `vigie certificate-renewed`, and finds the access to a server's API."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from app.server_installation.installer import copy_renewed_certificate, install_server, read_server_options
from app.server_installation.server_paths import ServerPaths, is_server
from app.server_installation.server_secrets import ADMIN_KEY, read_env_file
from app.standalone.data_directory import DataDirectory
from app.standalone.invite_command import RunAccess, read_run_access
from app.standalone.unprivileged_accounts import StandaloneError

_FAILED: Final = 1


def run_install(given: Mapping[str, Any], *, dry_run: bool) -> int:
    """Install or update a server, and print how to go on; returns the exit status.

    Args:
        given: The options of the command line; None: as stored.
        dry_run: Print the changes without making any.
    """
    paths, began = ServerPaths(), time.monotonic()
    try:
        stored = read_server_options(paths)
        options = dataclasses.replace(
            stored, **{name: value for name, value in given.items() if value is not None}
        )
        changes = install_server(options, paths, dry_run=dry_run)
    except (StandaloneError, OSError) as error:
        sys.stderr.write(f"vigie: {error}\n")
        return _FAILED
    took = f"{time.monotonic() - began:.1f} s"
    if dry_run:
        sys.stdout.write(
            f"{changes} changes would be made ({took}).\n" if changes else "Nothing to change.\n"
        )
        return 0
    sys.stdout.write(f"{changes} changes made in {took}.\n" if changes else f"Nothing to change ({took}).\n")
    where = f"https://{options.name}" if options.name else f"http://127.0.0.1:{options.api_port}"
    sys.stdout.write(
        f"The API is at {where}. The administrator's key is in {paths.env_file('api')} ({ADMIN_KEY}).\n"
        "Next: `vigie invite you@example.com` prints a link for the first person; `vigie doctor` checks it.\n"
    )
    return 0


def run_certificate_renewed() -> int:
    """Take up a renewed certificate; returns the exit status."""
    if not is_server():
        sys.stderr.write("vigie: this machine is no server: run `vigie install --server` first\n")
        return _FAILED
    try:
        copy_renewed_certificate(ServerPaths())
    except (StandaloneError, OSError) as error:
        sys.stderr.write(f"vigie: {error}\n")
        return _FAILED
    return 0


def find_run_access(data_dir: Path) -> RunAccess:
    """Find the access to the API: of the stack in a data directory, else of this server.

    Raises:
        StandaloneError: There is neither, or the administrator's key was removed.
    """
    layout, paths = DataDirectory(data_dir), ServerPaths()
    if layout.run_file.exists() or not is_server(paths):
        return read_run_access(layout.run_file)
    key = read_env_file(paths.env_file("api")).get(ADMIN_KEY)
    if not key:
        raise StandaloneError(
            f"{paths.env_file('api')} has no {ADMIN_KEY}: invite people in the console, or by the API"
        )
    return RunAccess(f"http://127.0.0.1:{read_server_options(paths).api_port}", key)
