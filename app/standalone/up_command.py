"""`vigie up`: checks the options, takes the data directory, runs the supervisor."""

import asyncio
import sys

from app.platform.config.settings import InvalidSettingsError, Settings, get_settings
from app.standalone.data_directory import Layout, locked, open_layout
from app.standalone.free_ports import require_free
from app.standalone.process_commands import ROLES, Options
from app.standalone.service_accounts import EmbeddedError
from app.standalone.startup_checks import REFUSED, of_stack, refusal
from app.standalone.startup_screen import Display
from app.standalone.supervisor import Supervisor

__all__ = ["ROLES", "Options", "run"]

_NOT_STARTED = 1


def run(options: Options) -> int:
    """Run the stack until SIGINT or SIGTERM.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when the stack did not start, 2 when what
        was asked for makes no sense or another stack holds the data directory.
    """
    unknown = [role for role in options.roles if role not in ROLES]
    if unknown or not options.roles:
        return _refuse(f"--roles takes some of {', '.join(ROLES)}; not {', '.join(unknown) or 'nothing'}")
    if not 0 <= options.port <= 65_535:  # noqa: PLR2004  # the range of ports
        return _refuse("--port takes a number from 0 to 65535")
    try:
        settings = get_settings()
        refused, told = of_stack(settings, options.roles, services=options.services)
        if refused:
            return _refuse(refusal(refused, "the stack does not start"))
        for each in told:
            sys.stderr.write(f"vigie: insecure: {each}\n")
        if not options.data_dir.exists() and "api" in options.roles and options.port:
            # A stack that cannot start leaves nothing behind.
            try:
                require_free(options.port, settings.api.host)
            except EmbeddedError as error:
                return _refuse(str(error), _NOT_STARTED)
        layout = open_layout(options.data_dir)
        with locked(layout):
            return asyncio.run(_supervise(options, layout, settings))
    except (InvalidSettingsError, EmbeddedError) as error:
        return _refuse(str(error))


async def _supervise(options: Options, layout: Layout, settings: Settings) -> int:
    return await Supervisor(options, layout, settings, Display()).run()


def _refuse(reason: str, status: int = REFUSED) -> int:
    sys.stderr.write(f"vigie: {reason}\n")
    return status
