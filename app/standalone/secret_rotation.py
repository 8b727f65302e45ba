"""Replacing secrets: which file they are in, what is written there, and what is left to do.

Owns the files; what is sealed with which key is in the database, and asked of there by whoever calls. Nothing
here shows a secret: keys go by their names.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from app.platform.config.encryption_settings import EncryptionSettings, parse_encryption_key
from app.platform.config.settings import DatabaseSettings, VigieSettings
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.secrets.sealing import derive_key_name, generate_encryption_key
from app.standalone.data_directory import DataDirectory
from app.standalone.secret_store import (
    change_secrets,
    generate_password,
    load_secrets,
    lock_secrets,
    write_key_file,
)
from app.standalone.service_accounts import StandaloneError

SETTLE_S: Final = 60.0
"""How long what was sealed before a new key came may take to be stored (a transaction lasts half as long)."""

_PATIENCE_S: Final = 30.0
_ADMINISTRATOR: Final = "administrator"


@dataclass(frozen=True, slots=True)
class RotationTarget:
    """Where an installation has its keys and its database.

    Attributes:
        title: what it is called in messages.
        encryption: the keys that its roles have.
        database: None where it does not run.
        layout: the data directory of `vigie up`; None for roles of one's own.
        settings: what the environment says.
    """

    title: str
    encryption: EncryptionSettings
    database: DatabaseSettings | None
    layout: DataDirectory | None
    settings: VigieSettings


def find_rotation_target(data_dir: Path | None, settings: VigieSettings) -> RotationTarget:
    """The installation that is meant.

    Args:
        data_dir: That of `vigie up`. None: what the settings name, else the stack in `.vigie`.
        settings: Those of the environment.

    Raises:
        EmbeddedError: There is none.
    """
    if _is_named(data_dir, settings.database):
        return RotationTarget(
            "the settings' database", settings.encryption, settings.database, None, settings
        )
    layout = _layout(data_dir)
    if not layout.secrets_file.exists() or not layout.keys_file.exists():
        raise StandaloneError(
            f"no stack was started on {layout.root}: name another with --data-dir, or set "
            "VIGIE_DATABASE__URL and VIGIE_ENCRYPTION__KEYS_FILE as the roles have them"
        )
    database = _database_of(layout, settings.database)
    encryption = EncryptionSettings(keys_file=layout.keys_file)
    return RotationTarget(f"the stack on {layout.root}", encryption, database, layout, settings)


def find_installation_database(data_dir: Path | None, settings: DatabaseSettings) -> DatabaseSettings:
    """The database of the installation that is meant, for who needs no key of it.

    Args:
        data_dir: As for `find_rotation_target`.
        settings: Those of the environment.

    Raises:
        EmbeddedError: There is none that runs.
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
    """The database of a stack; None where it does not run."""
    if not layout.run_file.exists():
        return None
    url = json.loads(layout.run_file.read_text(encoding="utf-8"))["database"]
    return settings.model_copy(update={"url": url})


def add_encryption_key(where: RotationTarget) -> list[str]:
    """Put a new encryption key before those that there are; gives the names of all, the first one first.

    Raises:
        EmbeddedError: The keys are not in a file that can be changed here.
    """
    new = generate_encryption_key()
    if where.layout is None:
        path = _own_file(where.encryption)
        with lock_secrets(path):
            replace_file_text(path, "\n".join([new, *path.read_text(encoding="utf-8").split(), ""]))
    else:
        path = where.layout.secrets_file
        with lock_secrets(path):
            _check_kept_seals(where)
            kept = load_secrets(path)
            former = (kept.encryption_key, *kept.former_encryption_keys)
            change_secrets(path, encryption_key=new, former_encryption_keys=former)
            write_key_file(where.layout, where.settings.encryption)
    return list_key_names(where)


def remove_unused_keys(where: RotationTarget, in_use: Collection[str], now: float | None = None) -> list[str]:
    """Take away the keys after the first that seal nothing any more; gives their names.

    Args:
        where: The installation.
        in_use: The names of keys that something is sealed with.
        now: Seconds since the epoch; by default the clock's.

    Raises:
        EmbeddedError: The keys cannot be changed here, or were a moment ago.
    """
    path = _own_file(where.encryption) if where.layout is None else where.layout.keys_file
    age_s = (time.time() if now is None else now) - path.stat().st_mtime
    if age_s < SETTLE_S:
        raise StandaloneError(
            f"the keys were changed {age_s:.0f} s ago: what was sealed before may not be stored yet; "
            f"wait until {SETTLE_S:g} s have passed"
        )
    if where.layout is None:
        with lock_secrets(path):
            first, *others = path.read_text(encoding="utf-8").split()
            left = [key for key in others if _name(key) in in_use]
            replace_file_text(path, "\n".join([first, *left, ""]))
        return [_name(key) for key in others if key not in left]
    secrets_file = where.layout.secrets_file
    with lock_secrets(secrets_file):
        former = load_secrets(secrets_file).former_encryption_keys
        kept = tuple(key for key in former if _name(key) in in_use)
        change_secrets(secrets_file, former_encryption_keys=kept)
        write_key_file(where.layout, where.settings.encryption)
    return [_name(key) for key in former if key not in kept]


def list_key_names(where: RotationTarget) -> list[str]:
    """What the keys are called, the first one first (EmbeddedError where they cannot be read)."""
    try:
        return [derive_key_name(key) for key in where.encryption.key_bytes()]
    except ValueError as error:
        raise StandaloneError(str(error)) from error


def replace_broker_passwords(layout: DataDirectory) -> None:
    """New passwords for the accounts `ingest` and `gateway`, from the next start on."""
    with lock_secrets(layout.secrets_file):
        change_secrets(
            layout.secrets_file, ingest_password=generate_password(), gateway_password=generate_password()
        )


async def replace_admin_key(layout: DataDirectory, settings: VigieSettings) -> bool:
    """Make a new administrator's key at the running API, keep it, and revoke the one before.

    Returns:
        Whether the former one could be revoked; False: it was not found for certain.

    Raises:
        EmbeddedError: The API does not run, or refused; or the key is the settings' own.
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
        raise StandaloneError("the stack runs without an API, which makes keys")
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
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
    """The id of a key, known by how it begins; None where several begin so."""
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
            "VIGIE_ENCRYPTION__KEYS gives the keys by value, or nothing does: move them to a file (0600), "
            "one a line, and name it in VIGIE_ENCRYPTION__KEYS_FILE; or change the variable, and start again"
        )
    return encryption.keys_file


def _check_kept_seals(where: RotationTarget) -> None:
    """A new key that is kept would seal nothing where the operator gives keys (EmbeddedError)."""
    if where.layout is None:
        return
    kept = load_secrets(where.layout.secrets_file)
    # All of them: an earlier change may have been cut short before the file was written.
    known = {_name(key) for key in (kept.encryption_key, *kept.former_encryption_keys)}
    if where.settings.encryption.key_bytes() or list_key_names(where)[0] not in known:
        raise StandaloneError(
            "VIGIE_ENCRYPTION__KEYS or VIGIE_ENCRYPTION__KEYS_FILE gives the key that seals: put a new one "
            "before it there (`openssl rand -base64 32`), and start `vigie up` again"
        )


def _name(key: str) -> str:
    return derive_key_name(parse_encryption_key(key))
