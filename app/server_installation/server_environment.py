"""Reads the settings of a server's processes as their units do, and checks them for `vigie doctor`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from app.platform.config.misspelt_setting_names import (
    VariableSource,
    find_misspelt_settings,
    list_setting_names,
)
from app.platform.config.platform_settings import InvalidSettingsError
from app.platform.config.security_finding_catalogue import SECURITY_FINDING_TYPES
from app.server_installation.server_paths import LOCAL_SETTINGS, ServerPaths
from app.server_installation.server_secrets import read_env_file
from app.settings import VigieSettings, read_settings
from app.standalone.doctor import DoctorFinding
from app.standalone.startup_settings_check import describe_unknown_setting, find_security_findings

_PREFIXES: Final = ("VIGIE_", "PG")


def read_process_environment(paths: ServerPaths, name: str) -> dict[str, str]:
    """Read the variables of a process, in the order of its unit: the last value wins.

    Args:
        paths: The paths of the server.
        name: A role, or `migrate`.
    """
    files = [paths.env_file("vigie"), paths.env_file(name), paths.env_file("local")]
    if name in LOCAL_SETTINGS:
        files.append(paths.env_file(f"{name}.local"))
    return {key: value for file in files for key, value in read_env_file(file).items()}


@contextmanager
def replaced_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace the settings in the environment of this process for a while."""
    former = dict(os.environ)
    for name in former:
        if name.upper().startswith(_PREFIXES):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)


def check_process_settings(paths: ServerPaths, roles: Sequence[str]) -> Iterator[DoctorFinding]:
    """Check the settings of each process: invalid, insecure or misspelt ones."""
    found: set[DoctorFinding] = set()
    for role in roles:
        variables = read_process_environment(paths, role)
        with replaced_environment(variables):
            for each in _check_process(role, variables):
                if each not in found:
                    found.add(each)
                    yield each
    if not found:
        yield DoctorFinding("ok", "settings", "of all processes are valid, and none is insecure")


def _check_process(role: str, variables: Mapping[str, str]) -> Iterator[DoctorFinding]:
    names: dict[str, VariableSource] = dict.fromkeys(variables, "environment")
    for unknown in find_misspelt_settings(names, list_setting_names(VigieSettings)):
        yield DoctorFinding("note", "unknown setting", describe_unknown_setting(unknown), "correct its name")
    try:
        settings: VigieSettings = read_settings()
    except InvalidSettingsError as error:
        yield DoctorFinding("missing", "settings", f"{role}: {error}", f"correct it in {role}.local.env")
        return
    for each in find_security_findings(settings, [role], variables):
        known = SECURITY_FINDING_TYPES[each.code]
        is_allowed = each.code in settings.allow_insecure
        detail = f"{each.code}: {each.variable}: {known.danger}"
        end = " (allowed)" if is_allowed else f"; keeps {role} from starting"
        yield DoctorFinding(
            "note" if is_allowed else "missing", "insecure setting", f"{detail}{end}", f"set {known.fix}"
        )
