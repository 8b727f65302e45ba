"""Remembers which units still have to be restarted or reloaded, until that is done.

The files that an installation writes are right afterwards, so another run finds no change in them. Without
this memory an installation that breaks off, or a reload that fails, would leave units with former files.
"""

import json

from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.installation_context import InstallationContext
from app.standalone.unprivileged_accounts import StandaloneError


def load_pending_units(context: InstallationContext) -> None:
    """Add the units that an earlier run left.

    Raises:
        StandaloneError: The file cannot be read.
    """
    path = context.paths.pending_units_file(context.command)
    if not path.exists():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        context.restart |= set(stored["restart"])
        context.reload |= set(stored["reload"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StandaloneError(
            f"{path} cannot be read: {error}. Remove it, and restart vigie.target, mosquitto and caddy"
        ) from error


def store_pending_units(context: InstallationContext) -> None:
    """Store the units of a context; without any, remove the file."""
    path = context.paths.pending_units_file(context.command)
    if not context.restart | context.reload:
        path.unlink(missing_ok=True)
        return
    text = json.dumps({"restart": sorted(context.restart), "reload": sorted(context.reload)})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file_text(path, f"{text}\n", mode=0o600)
