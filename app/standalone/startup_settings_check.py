"""Decides whether a process may start with its settings, and reports misspelt and insecure settings.

`app.standalone.insecure_settings` finds what is insecure. A separate process is refused for any finding that
is not allowed by name. `vigie up` decides most settings itself, and refuses only findings on services that
are not its own. It also recognises children of `vigie up`, whose settings were checked by the supervisor.

Misspelt settings are logged by processes and printed by commands. They never keep a program from starting,
because other programs may share the prefix `VIGIE_`. Values are not shown.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.platform.config.misspelt_setting_names import (
    UnknownSetting,
    find_misspelt_settings,
    list_setting_names,
)
from app.platform.config.platform_settings import InvalidSettingsError, LogSettings
from app.platform.config.security_finding_catalogue import (
    SECURITY_FINDING_TYPES,
    ProcessRoleName,
    SecurityFindingCode,
)
from app.platform.config.setting_sources import find_env_file, read_variable_names
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.settings import VigieSettings, get_settings
from app.standalone.data_directory import DataDirectory
from app.standalone.insecure_settings import (
    SecurityFinding,
    SettingsEnvironment,
    find_insecure_settings,
)
from app.standalone.login_privilege_reader import connect_and_read_login
from app.standalone.orphan_processes import MARKER


def find_unknown_settings() -> list[UnknownSetting]:
    """Find names in the environment and in `.env` that match no setting."""
    return find_misspelt_settings(read_variable_names(os.environ), list_setting_names(VigieSettings))


def log_unknown_settings(settings: LogSettings, role: str) -> None:
    """Log a warning for each name that matches no setting."""
    if found := find_unknown_settings():
        configure_logging(settings, role=role)
    for each in found:
        _log.warning("unknown_setting", setting=each.name, nearest=each.nearest, source=each.source)


def print_unknown_settings() -> None:
    """Print a line to standard error for each name that matches no setting.

    A child of `vigie up` prints none, since the supervisor has printed them.
    """
    if MARKER in os.environ and is_stack_child(os.environ):
        return
    for each in find_unknown_settings():
        sys.stderr.write(f"vigie: unknown setting: {describe_unknown_setting(each)}\n")


def describe_unknown_setting(found: UnknownSetting) -> str:
    """Describe an ignored name, its source, and the setting that may be meant."""
    where = "in .env" if found.source == ".env" else "in the environment"
    meant = "" if found.nearest is None else f" Did you mean {found.nearest}?"
    return f"{found.name} {where} is ignored: no setting has this name.{meant}"


REFUSED: Final = 2
_TIMEOUT_S: Final = 3.0  # a process may start before its database
SERVICES: Final[frozenset[SecurityFindingCode]] = frozenset(
    code for code in SECURITY_FINDING_TYPES if code.startswith(("database_", "broker_"))
)
"""Findings for which the operator is responsible if `vigie up` runs no private services."""

_ROLES: Final[tuple[ProcessRoleName, ...]] = ("api", "edge", "ingest", "deliver", "maintain")
_OWN_DECISIONS: Final[frozenset[SecurityFindingCode]] = frozenset(
    {"webhooks_private", "encryption_without_key"}
)
"""Findings on settings that `vigie up` always decides itself."""

_WITH_SERVICES: Final = _OWN_DECISIONS | SERVICES | {"session_guessable"}
"""Findings on settings that it also decides if it runs private services."""

_log = get_logger(__name__)


def load_admitted_settings(role: ProcessRoleName) -> VigieSettings:
    """Load the settings of a process if it may start with them; logs allowed findings and unknown names.

    Raises:
        InvalidSettingsError: They are invalid.
        SystemExit: 2; they are insecure, and standard error lists the findings and fixes.
    """
    try:
        settings = get_settings()
    except InvalidSettingsError:
        print_unknown_settings()  # logging needs valid settings
        raise
    if is_stack_child(os.environ):
        return settings
    log_unknown_settings(settings.log, role)
    login = connect_and_read_login(settings.database, _TIMEOUT_S) if role in _ROLES else None
    found = list(
        find_insecure_settings(
            settings, role, replace(read_settings_environment(settings, role, os.environ), login=login)
        )
    )
    if refused := [each for each in found if each.code not in settings.allow_insecure]:
        sys.stderr.write(f"vigie: {format_refusal(refused, f'{role} does not start')}\n")
        raise SystemExit(REFUSED)
    unknown = login is None and role in _ROLES
    if found or unknown:
        configure_logging(settings.log, role=role)
    if unknown:
        _log.warning("database_login_not_looked_at")
    for each in found:
        _log.warning("insecure_setting_allowed", code=each.code, setting=each.variable)
    return settings


def find_security_findings(
    settings: VigieSettings, roles: Iterable[str] = _ROLES, environ: Mapping[str, str] = os.environ
) -> list[SecurityFinding]:
    """Find what is insecure for any of the processes, each finding once."""
    names: list[ProcessRoleName] = [role for role in _ROLES if role in roles]
    found = [
        each
        for role in names
        for each in find_insecure_settings(settings, role, read_settings_environment(settings, role, environ))
    ]
    return list(dict.fromkeys(found))


def check_stack_settings(
    settings: VigieSettings, roles: Iterable[str] = _ROLES, *, services: bool
) -> tuple[list[SecurityFinding], list[SecurityFinding]]:
    """Return the findings that keep `vigie up` from starting, and those that it only reports.

    Args:
        settings: Those of the operator.
        roles: The processes that it runs.
        services: Whether it runs a private PostgreSQL and Mosquitto.
    """
    waived = _WITH_SERVICES if services else _OWN_DECISIONS
    known = [each for each in find_security_findings(settings, roles) if each.code not in waived]
    refused = [each for each in known if each.code in SERVICES and each.code not in settings.allow_insecure]
    return refused, [each for each in known if each not in refused]


def format_refusal(found: Iterable[SecurityFinding], what: str) -> str:
    """Format the findings, one per line, and how to allow them by name; shows no secret."""
    codes = ", ".join(f'"{each.code}"' for each in found)
    lines = "".join(f"\n  {each}" for each in found)
    return (
        f"{what} with insecure settings{lines}\n"
        f"Mend them, or allow them by name: VIGIE_ALLOW_INSECURE='[{codes}]' "
        "(docs/operations/insecure-settings.md)"
    )


def is_stack_child(environ: Mapping[str, str]) -> bool:
    """Return whether `vigie up` started this process.

    The variable alone may be a leftover or a copy, so the parent must also hold the lock of the data
    directory.
    """
    marker = environ.get(MARKER, "")
    layout = DataDirectory(Path(marker.partition("@")[2] or os.devnull))
    try:
        return layout.marker() == marker and layout.lock_file.read_text().strip() == str(os.getppid())
    except OSError:
        return False


def read_settings_environment(
    settings: VigieSettings, role: ProcessRoleName, environ: Mapping[str, str]
) -> SettingsEnvironment:
    """Read PostgreSQL's own variables, and the modes of files with secrets."""
    passfile = Path(environ.get("PGPASSFILE") or Path(environ.get("HOME") or "/nonexistent") / ".pgpass")
    files: dict[str, Path | None] = {".env": find_env_file()}
    if role in SECURITY_FINDING_TYPES["broker_without_password"].roles:
        files["VIGIE_BROKER__TLS__KEY_FILE"] = settings.broker.tls.key_file
    if role in SECURITY_FINDING_TYPES["encryption_without_key"].roles and not settings.encryption.keys:
        files["VIGIE_ENCRYPTION__KEYS_FILE"] = settings.encryption.keys_file
    return SettingsEnvironment(
        libpq={name: value for name, value in environ.items() if name.startswith("PG")},
        passfile=passfile.is_file(),
        modes=dict(_modes(files)),
    )


def _modes(files: Mapping[str, Path | None]) -> Iterator[tuple[str, int]]:
    for variable, path in files.items():
        if path is None:
            continue
        try:
            mode = path.stat().st_mode
            closed = any(not folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
        except OSError:
            continue
        # A file in a closed folder is protected, whatever its own mode.
        yield variable, 0 if closed else stat.S_IMODE(mode)
