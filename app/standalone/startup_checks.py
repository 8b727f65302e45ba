"""Whether a role may start with the settings that there are.

Owns the refusal, what is said of what was allowed, and how a child of `vigie up` is known. What is insecure,
`app.standalone.security_audit` judges. Who runs a role on its own answers for all of it; `vigie up` decides
on most by itself, and refuses nothing but what it was told of services that are not its own.

Reports misspelt settings at the start of a program: in the log of a role, on standard error of a command.

It never refuses to start, because other programs may share the prefix `VIGIE_`. It shows no values.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.platform.config.security_findings import SECURITY_FINDING_TYPES, ProcessRoleName, SecurityFindingCode
from app.platform.config.setting_names import UnknownSetting, find_misspelt_settings, list_setting_names
from app.platform.config.setting_sources import read_variable_names
from app.platform.config.settings import InvalidSettingsError, LogSettings, VigieSettings, get_settings
from app.platform.observability.metrics_and_logs import configure_logging, get_logger
from app.standalone.data_directory import DataDirectory
from app.standalone.database_logins import connect_and_read_login
from app.standalone.orphan_processes import MARKER
from app.standalone.security_audit import SecurityFinding, SettingsEnvironment, find_insecure_settings


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
    if MARKER in os.environ and is_stack_child(os.environ):
        return
    for each in find_unknown_settings():
        sys.stderr.write(f"vigie: unknown setting: {describe_unknown_setting(each)}\n")


def describe_unknown_setting(found: UnknownSetting) -> str:
    """Say which name is ignored, where it stands, and which setting may be meant."""
    where = "in .env" if found.source == ".env" else "in the environment"
    meant = "" if found.nearest is None else f" Did you mean {found.nearest}?"
    return f"{found.name} {where} is ignored: no setting has this name.{meant}"


REFUSED: Final = 2
_PATIENCE_S: Final = 3.0  # a role may start before its database does
SERVICES: Final[frozenset[SecurityFindingCode]] = frozenset(
    code for code in SECURITY_FINDING_TYPES if code.startswith(("database_", "broker_"))
)
"""What is the operator's own to answer for where `vigie up` brings no services along."""

_ROLES: Final[tuple[ProcessRoleName, ...]] = ("api", "ingest", "deliver", "maintain")
_DECIDED: Final[frozenset[SecurityFindingCode]] = frozenset({"webhooks_private", "encryption_without_key"})
"""What `vigie up` decides itself in any case."""

_WITH_SERVICES: Final = _DECIDED | SERVICES | {"session_guessable"}
"""What it decides besides where it brings its services along."""

_log = get_logger(__name__)


def load_admitted_settings(role: ProcessRoleName) -> VigieSettings:
    """Give the settings of a role that may start with them; logs what was allowed by name, and unknown names.

    Raises:
        InvalidSettingsError: They make no sense.
        SystemExit: 2; they are insecure, and standard error says what is, and what mends it.
    """
    try:
        settings = get_settings()
    except InvalidSettingsError:
        print_unknown_settings()  # how logs are written is among the settings
        raise
    if is_stack_child(os.environ):
        return settings
    log_unknown_settings(settings.log, role)
    login = connect_and_read_login(settings.database, _PATIENCE_S) if role in _ROLES else None
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


def find_role_insecurities(
    settings: VigieSettings, roles: Iterable[str] = _ROLES, environ: Mapping[str, str] = os.environ
) -> list[SecurityFinding]:
    """What is insecure for any of some roles, each once."""
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
    """What is insecure for `vigie up`: what it refuses to start with, and what it tells of only.

    Args:
        settings: Those of the operator.
        roles: Which it runs.
        services: Whether it brings PostgreSQL and the broker along.
    """
    waived = _WITH_SERVICES if services else _DECIDED
    known = [each for each in find_role_insecurities(settings, roles) if each.code not in waived]
    refused = [each for each in known if each.code in SERVICES and each.code not in settings.allow_insecure]
    return refused, [each for each in known if each not in refused]


def format_refusal(found: Iterable[SecurityFinding], what: str) -> str:
    """A line for each finding, and how they are allowed by name; shows no secret."""
    codes = ", ".join(f'"{each.code}"' for each in found)
    lines = "".join(f"\n  {each}" for each in found)
    return (
        f"{what} with insecure settings{lines}\n"
        f"Mend them, or allow them by name: VIGIE_ALLOW_INSECURE='[{codes}]' "
        "(docs/operations.md, Insecure settings)"
    )


def is_stack_child(environ: Mapping[str, str]) -> bool:
    """Tell whether `vigie up` started this process.

    A variable alone may be left over or copied: besides, our parent must be who holds the data directory.
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
    """What counts besides the settings: PostgreSQL's own variables, and the modes of files with secrets."""
    passfile = Path(environ.get("PGPASSFILE") or Path(environ.get("HOME") or "/nonexistent") / ".pgpass")
    files: dict[str, Path | None] = {".env": Path(".env")}
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
        # Nobody else comes to a file in a closed folder, whatever its own bits are.
        yield variable, 0 if closed else stat.S_IMODE(mode)
