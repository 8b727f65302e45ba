"""Runs `vigie up`: checks the options, locks the data directory, and runs the supervisor."""

import asyncio
import shlex
import sys
from pathlib import Path

from app.platform.config.platform_settings import InvalidSettingsError
from app.settings import VigieSettings, get_settings
from app.standalone.data_directory import DataDirectory, lock_data_directory, open_data_directory
from app.standalone.free_ports import require_free_port
from app.standalone.process_commands import ROLES, StackOptions
from app.standalone.startup_settings_check import REFUSED, check_stack_settings, format_refusal
from app.standalone.status_screen import INVITE, StartupScreen
from app.standalone.supervisor import Supervisor
from app.standalone.unprivileged_accounts import StandaloneError

__all__ = ["ROLES", "StackOptions", "run_stack"]

_NOT_STARTED = 1
_DEFAULT_FOLDER = Path(".vigie")


def run_stack(options: StackOptions) -> int:
    """Run the stack until SIGINT or SIGTERM.

    Returns:
        The exit status: 0 after a stop request, 1 if the stack did not start, 2 if the options are invalid or
            another stack uses the data directory.
    """
    unknown = [role for role in options.roles if role not in ROLES]
    if unknown or not options.roles:
        return _refuse(f"--roles takes some of {', '.join(ROLES)}; not {', '.join(unknown) or 'nothing'}")
    if not 0 <= options.port <= 65_535:  # noqa: PLR2004  # the range of ports
        return _refuse("--port takes a number from 0 to 65535")
    try:
        settings = get_settings()
        refused, warnings = check_stack_settings(settings, options.roles, services=options.services)
        if refused:
            return _refuse(format_refusal(refused, "the stack does not start"))
        for each in warnings:
            sys.stderr.write(f"vigie: insecure: {each}\n")
        if not options.data_dir.exists() and "api" in options.roles and options.port:
            # Checked before the data directory is created, so that a failed start leaves no files.
            try:
                require_free_port(options.port, settings.api.host)
            except StandaloneError as error:
                return _refuse(str(error), _NOT_STARTED)
        layout = open_data_directory(options.data_dir)
        with lock_data_directory(layout):
            return asyncio.run(_supervise(options, layout, settings))
    except (InvalidSettingsError, StandaloneError) as error:
        return _refuse(str(error))


async def _supervise(options: StackOptions, layout: DataDirectory, settings: VigieSettings) -> int:
    folder = (
        "" if options.data_dir == _DEFAULT_FOLDER else f" --data-dir {shlex.quote(str(options.data_dir))}"
    )
    screen = StartupScreen(invite=f"{INVITE}{folder}")
    return await Supervisor(options, layout, settings, screen).run()


def _refuse(reason: str, status: int = REFUSED) -> int:
    sys.stderr.write(f"vigie: {reason}\n")
    return status
