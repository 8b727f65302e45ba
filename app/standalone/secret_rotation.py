"""Replaces secrets: encryption keys, passwords of the broker and the administrator's key.

It changes the files. The database knows which key encrypts what, and the caller queries it. Secrets are never
shown: keys are identified by their names.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from app.platform.config.encryption_settings import EncryptionSettings, parse_encryption_key
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.secrets.sealing import derive_key_name, generate_encryption_key
from app.settings import VigieSettings
from app.standalone.data_directory import DataDirectory
from app.standalone.secret_store import (
    change_secrets,
    generate_password,
    load_secrets,
    lock_secrets,
    write_key_file,
)
from app.standalone.unprivileged_accounts import StandaloneError

SETTLE_S: Final = 60.0
"""Time after which values encrypted with the former key are committed (a transaction lasts up to 30 s)."""

_TIMEOUT_S: Final = 30.0
_ADMINISTRATOR: Final = "administrator"


@dataclass(frozen=True, slots=True)
class RotationTarget:
    """An installation whose secrets are replaced.

    Attributes:
        title: its name in messages.
        encryption: the encryption keys of its processes.
        database: its database; None if it does not run.
        layout: the data directory of `vigie up`; None if the processes are run separately.
        settings: the settings of the environment.
    """

    title: str
    encryption: EncryptionSettings
    database: DatabaseSettings | None
    layout: DataDirectory | None
    settings: VigieSettings


def find_rotation_target(data_dir: Path | None, settings: VigieSettings) -> RotationTarget:
    """Find the installation that a command refers to.

    Args:
        data_dir: The data directory of `vigie up`. None: the installation in the settings, else the stack in
            `.vigie`.
        settings: Those of the environment.

    Raises:
        StandaloneError: There is none.
    """
    if _is_named(data_dir, settings.database):
        return RotationTarget(
            "the settings' database", settings.encryption, settings.database, None, settings
        )
    layout = _layout(data_dir)
    if not layout.secrets_file.exists() or not layout.keys_file.exists():
        raise StandaloneError(
            f"no stack was started on {layout.root}: name another with --data-dir, or set "
            "VIGIE_DATABASE__URL and VIGIE_ENCRYPTION__KEYS_FILE as for the processes"
        )
    database = _database_of(layout, settings.database)
    encryption = EncryptionSettings(keys_file=layout.keys_file)
    return RotationTarget(f"the stack on {layout.root}", encryption, database, layout, settings)


def find_installation_database(data_dir: Path | None, settings: DatabaseSettings) -> DatabaseSettings:
    """Find the database of the installation that a command refers to, without its keys.

    Args:
        data_dir: As for `find_rotation_target`.
        settings: Those of the environment.

    Raises:
        StandaloneError: None runs.
    """
    if _is_named(data_dir, settings):
        return settings
    layout = _layout(data_dir)
    found = _database_of(layout, settings)
    if found is None:
        raise StandaloneError(
            f"no stack runs on {layout.root}: start it, name another with --data-dir, or set "
            "VIGIE_DATABASE__URL"
        )
    return found


def _is_named(data_dir: Path | None, settings: DatabaseSettings) -> bool:
    return data_dir is None and "url" in settings.model_fields_set


def _layout(data_dir: Path | None) -> DataDirectory:
    return DataDirectory((data_dir or Path(".vigie")).absolute())


def _database_of(layout: DataDirectory, settings: DatabaseSettings) -> DatabaseSettings | None:
    """Return the database of a stack; None if it does not run."""
    if not layout.run_file.exists():
        return None
    url = json.loads(layout.run_file.read_text(encoding="utf-8"))["database"]
    return settings.model_copy(update={"url": url})


def add_encryption_key(target: RotationTarget) -> list[str]:
    """Add a new encryption key before the existing ones; returns the names of all, the new one first.

    Raises:
        StandaloneError: The keys are not in a file that can be changed here.
    """
    new = generate_encryption_key()
    if target.layout is None:
        path = _own_file(target.encryption)
        with lock_secrets(path):
            replace_file_text(path, "\n".join([new, *path.read_text(encoding="utf-8").split(), ""]))
    else:
        path = target.layout.secrets_file
        with lock_secrets(path):
            _require_stored_key_in_use(target)
            stored = load_secrets(path)
            former = (stored.encryption_key, *stored.former_encryption_keys)
            change_secrets(path, encryption_key=new, former_encryption_keys=former)
            write_key_file(target.layout, target.settings.encryption)
    return list_key_names(target)


def remove_unused_keys(
    target: RotationTarget, in_use: Collection[str], now: float | None = None
) -> list[str]:
    """Remove the former keys that encrypt nothing any more; returns their names.

    Args:
        target: The installation.
        in_use: The names of keys that encrypt something.
        now: Seconds since the epoch; by default the clock's.

    Raises:
        StandaloneError: The keys cannot be changed here, or were changed a moment ago.
    """
    path = _own_file(target.encryption) if target.layout is None else target.layout.keys_file
    age_s = (time.time() if now is None else now) - path.stat().st_mtime
    if age_s < SETTLE_S:
        raise StandaloneError(
            f"the keys were changed {age_s:.0f} s ago: values encrypted before may not be stored yet; "
            f"wait until {SETTLE_S:g} s have passed"
        )
    if target.layout is None:
        with lock_secrets(path):
            first, *others = path.read_text(encoding="utf-8").split()
            left = [key for key in others if _name(key) in in_use]
            replace_file_text(path, "\n".join([first, *left, ""]))
        return [_name(key) for key in others if key not in left]
    secrets_file = target.layout.secrets_file
    with lock_secrets(secrets_file):
        former = load_secrets(secrets_file).former_encryption_keys
        remaining = tuple(key for key in former if _name(key) in in_use)
        change_secrets(secrets_file, former_encryption_keys=remaining)
        write_key_file(target.layout, target.settings.encryption)
    return [_name(key) for key in former if key not in remaining]


def list_key_names(target: RotationTarget) -> list[str]:
    """Return the names of the keys, the current one first (StandaloneError if they cannot be read)."""
    try:
        return [derive_key_name(key) for key in target.encryption.key_bytes()]
    except ValueError as error:
        raise StandaloneError(str(error)) from error


def replace_broker_passwords(layout: DataDirectory) -> None:
    """Replace the passwords of the accounts `ingest` and `gateway`, effective at the next start."""
    with lock_secrets(layout.secrets_file):
        change_secrets(
            layout.secrets_file, ingest_password=generate_password(), gateway_password=generate_password()
        )


async def replace_admin_key(layout: DataDirectory, settings: VigieSettings) -> bool:
    """Create a new administrator's key with the running API, store it, and revoke the former one.

    Returns:
        Whether the former key was revoked; False if it could not be identified.

    Raises:
        StandaloneError: The API does not run, or refused; or the settings define the key.
    """
    if settings.bootstrap_admin_key is not None:
        raise StandaloneError(
            "VIGIE_BOOTSTRAP_ADMIN_KEY gives the key: make one with it (`POST /v1/api-keys`), set that, "
            "start again, and revoke the former one"
        )
    try:
        run = json.loads(layout.run_file.read_text(encoding="utf-8"))
        api, former = run["api"], run["admin_key"]
    except (OSError, ValueError, KeyError) as error:
        raise StandaloneError(f"no stack runs on {layout.root}: start it first") from error
    if api is None:
        raise StandaloneError("the stack runs without the API, which creates keys")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(base_url=api, timeout=timeout, raise_for_status=True) as session:
        try:
            old = await _key_id(session, former)
            body = {"name": _ADMINISTRATOR, "scopes": ["*"]}
            made = await _call(session, "POST", "/v1/api-keys", former, body)
            with lock_secrets(layout.secrets_file):
                change_secrets(layout.secrets_file, admin_key=made["key"])
            replace_file_text(layout.run_file, json.dumps(run | {"admin_key": made["key"]}, indent=1) + "\n")
            if old is not None:
                await _call(session, "DELETE", f"/v1/api-keys/{old}", made["key"])
        except aiohttp.ClientError as error:
            raise StandaloneError(f"the API refused: {error}") from error
    return old is not None


async def _key_id(session: aiohttp.ClientSession, key: str) -> str | None:
    """Find the id of a key by its beginning; None if several keys begin so."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/api-keys?limit=1000{'&cursor=' + cursor if cursor else ''}"
        page = await _call(session, "GET", path, key)
        found += [each["id"] for each in page["data"] if key.startswith(each["hint"])]
        cursor = page["next"]
    return found[0] if len(found) == 1 else None


async def _call(
    session: aiohttp.ClientSession, method: str, path: str, key: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with session.request(method, path, json=body, headers=headers) as answer:
        return dict(await answer.json()) if answer.status != 204 else {}  # noqa: PLR2004 (no content)


def _own_file(encryption: EncryptionSettings) -> Path:
    if encryption.keys or encryption.keys_file is None:
        raise StandaloneError(
            "VIGIE_ENCRYPTION__KEYS has the keys, or none are set: move them to a file (0600), "
            "one per line, and name it in VIGIE_ENCRYPTION__KEYS_FILE; or change the variable, and restart"
        )
    return encryption.keys_file


def _require_stored_key_in_use(target: RotationTarget) -> None:
    """Refuse a new stored key if the operator's own key encrypts (StandaloneError)."""
    if target.layout is None:
        return
    stored = load_secrets(target.layout.secrets_file)
    # All stored keys: an earlier change may have failed before the file was written.
    known = {_name(key) for key in (stored.encryption_key, *stored.former_encryption_keys)}
    if target.settings.encryption.key_bytes() or list_key_names(target)[0] not in known:
        raise StandaloneError(
            "VIGIE_ENCRYPTION__KEYS or VIGIE_ENCRYPTION__KEYS_FILE gives the key that seals: put a new one "
            "before it there (`openssl rand -base64 32`), and start `vigie up` again"
        )


def _name(key: str) -> str:
    return derive_key_name(parse_encryption_key(key))
