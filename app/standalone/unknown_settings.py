"""Reports misspelt settings at the start of a program: in the log of a role, on standard error of a command.

It never refuses to start, because other programs may share the prefix `VIGIE_`. It shows no values.
"""

import os
import sys

from app.platform.config.setting_names import UnknownSetting, find_misspelt_settings, list_setting_names
from app.platform.config.setting_sources import read_variable_names
from app.platform.config.settings import LogSettings, VigieSettings
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.standalone.orphan_processes import MARKER

_log = get_logger(__name__)


def find_unknown_settings() -> list[UnknownSetting]:
    """Find the names in the environment and in `.env` that no setting has."""
    return find_misspelt_settings(read_variable_names(os.environ), list_setting_names(VigieSettings))


def log_unknown_settings(settings: LogSettings, role: str) -> None:
    """Log a warning for each name that no setting has."""
    if found := find_unknown_settings():
        configure_logging(settings, role=role)
    for each in found:
        _log.warning("unknown_setting", setting=each.name, nearest=each.nearest, source=each.source)


def print_unknown_settings() -> None:
    """Print a line to standard error for each name that no setting has.

    A child of `vigie up` prints none: it has the names of the supervisor, which has printed them.
    """
    if MARKER in os.environ:
        from app.standalone.startup_checks import is_stack_child  # noqa: PLC0415 (it logs what this module finds)

        if is_stack_child(os.environ):
            return
    for each in find_unknown_settings():
        sys.stderr.write(f"vigie: unknown setting: {describe_unknown_setting(each)}\n")


def describe_unknown_setting(found: UnknownSetting) -> str:
    """Say which name is ignored, where it stands, and which setting may be meant."""
    where = "in .env" if found.source == ".env" else "in the environment"
    meant = "" if found.nearest is None else f" Did you mean {found.nearest}?"
    return f"{found.name} {where} is ignored: no setting has this name.{meant}"
