"""Generates the secrets of `vigie up` at its first start, and stores them in the data directory (0600).

It also writes the file of encryption keys for the processes. Files are changed under a lock, since `vigie
secrets rotate` may run concurrently. `secret_rotation` replaces secrets.

`generate_env_lines` and `generate_compose_lines` make the secrets of an installation without `vigie up`, and
do not store them.
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone.data_directory import DataDirectory
from app.standalone.private_postgres import LOGINS
from app.standalone.unprivileged_accounts import StandaloneError


@dataclass(frozen=True, slots=True)
class StackSecrets:
    """The secrets that persist between starts of a stack.

    Attributes:
        admin_key: the platform administrator's key.
        gateway_password: of the broker's account `gateway`.
        ingest_password: of the broker's account for Vigie's processes.
        ingest_client_id: the name of the consumer's session at the broker.
        encryption_key: the current key, in base64.
        former_encryption_keys: earlier keys, only for decryption; the newest first.
    """

    admin_key: str
    gateway_password: str
    ingest_password: str
    ingest_client_id: str
    encryption_key: str
    former_encryption_keys: tuple[str, ...] = ()


def generate_password() -> str:
    """Generate a random password of 192 bits, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(24)


def load_or_create_secrets(path: Path, admin_key: str | None) -> StackSecrets:
    """Load the secrets, and generate and store those that are missing.

    Args:
        path: the file.
        admin_key: the administrator's key of the settings, if there is one; it replaces the stored one.

    Raises:
        StandaloneError: the file is invalid.
    """
    with lock_secrets(path):
        stored = _read(path)
        ingest_password = _text(stored, "ingest_password") or generate_password()
        found = StackSecrets(
            admin_key=admin_key or _text(stored, "admin_key") or generate_key(),
            gateway_password=_text(stored, "gateway_password") or generate_password(),
            ingest_password=ingest_password,
            ingest_client_id=_text(stored, "ingest_client_id") or _client_id(ingest_password),
            encryption_key=_text(stored, "encryption_key") or generate_encryption_key(),
            former_encryption_keys=tuple(map(str, stored.get("former_encryption_keys") or ())),
        )
        if _as_json(found) != stored:
            _write(path, found)
        return found


def change_secrets(path: Path, **changes: Any) -> StackSecrets:  # noqa: ANN401 (the types of the fields)
    """Change some of the stored secrets; to be called within `lock_secrets`.

    Raises:
        StandaloneError: secrets are missing.
    """
    found = replace(load_secrets(path), **changes)
    _write(path, found)
    return found


def load_secrets(path: Path) -> StackSecrets:
    """Load the stored secrets (StandaloneError if they are missing)."""
    stored = _read(path)
    try:
        former = tuple(map(str, stored.pop("former_encryption_keys", ())))
        return StackSecrets(**stored, former_encryption_keys=former)
    except TypeError as error:
        raise StandaloneError(
            f"{path} does not have all secrets of a stack: `vigie up` has to have run on it"
        ) from error


@contextmanager
def lock_secrets(path: Path) -> Iterator[None]:
    """Lock the secrets, so that concurrent changes do not overwrite each other."""
    with path.with_name("secrets.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise StandaloneError(f"{path} cannot be read: {error}") from error


def _text(stored: dict[str, Any], name: str) -> str:
    return str(stored.get(name) or "")


def _as_json(found: StackSecrets) -> dict[str, Any]:
    return {**asdict(found), "former_encryption_keys": list(found.former_encryption_keys)}


def _write(path: Path, found: StackSecrets) -> None:
    replace_file_text(path, json.dumps(_as_json(found), indent=1), mode=0o600)


def _client_id(password: str) -> str:
    """Return the name of the consumer's session: stable, and secret to others.

    A broker hands a session over to any client with its name: a box that knew the name could discard the
    queue. It is stored separately from the password, which may be replaced while the name stays.
    """
    return f"vigie-ingest-{hashlib.sha256(password.encode()).hexdigest()[:16]}"


def list_encryption_keys(settings: EncryptionSettings, stored: StackSecrets) -> list[str]:
    """Return the keys for the processes, in base64: the operator's own, then the stored ones.

    The stored keys are included even if the operator sets keys, so that older values can still be decrypted.

    Args:
        settings: The operator's keys.
        stored: The stored secrets.

    Raises:
        StandaloneError: the operator's file cannot be read.
    """
    try:
        own = [base64.b64encode(key).decode() for key in settings.key_bytes()]
    except ValueError as error:
        raise StandaloneError(f"VIGIE_ENCRYPTION__KEYS_FILE: {error}") from error
    return list(dict.fromkeys([*own, stored.encryption_key, *stored.former_encryption_keys]))


def write_key_file(layout: DataDirectory, settings: EncryptionSettings) -> None:
    """Write the file of keys that the processes read; to be called within `lock_secrets`.

    Raises:
        StandaloneError: as `list_encryption_keys`, or no secrets are stored.
    """
    keys = list_encryption_keys(settings, load_secrets(layout.secrets_file))
    replace_file_text(layout.keys_file, "\n".join([*keys, ""]), mode=0o600)


def generate_env_lines(keys_file: Path | None) -> str:
    """Generate the lines of a `.env` file with every secret that the processes need.

    Args:
        keys_file: Where to write the encryption key (0600), so that it can be replaced without a restart;
            None puts it into the lines.

    Raises:
        StandaloneError: The file exists, or cannot be written.
    """
    key = generate_encryption_key()
    if keys_file is None:
        sealing = f"VIGIE_ENCRYPTION__KEYS='{json.dumps([key])}'"
    else:
        sealing = f"VIGIE_ENCRYPTION__KEYS_FILE={_written(keys_file.absolute(), key)}"
    lines = (
        "# Secrets of one installation. Protect this file (chmod 600), and keep a copy of it elsewhere.",
        "# For `vigie migrate` alone. PostgreSQL's account has the same password (psql: \\password vigie).",
        f"VIGIE_DATABASE__URL={_url('vigie')}",
        "# Each process has its own instead: deploy/roles.sql creates the accounts, without passwords.",
        *(f"# {login.removeprefix('vigie_')}: VIGIE_DATABASE__URL={_url(login)}" for login in LOGINS),
        "# For mosquitto_passwd: the account of Vigie, and one for trusted gateways (not a setting).",
        "VIGIE_BROKER__USERNAME=ingest",
        f"VIGIE_BROKER__PASSWORD={generate_password()}",
        f"# gateway: {generate_password()}",
        f"VIGIE_INGEST__CLIENT_ID=vigie-ingest-{secrets.token_hex(8)}",
        "# For the processes api, deliver and maintain.",
        sealing,
        "# For the process api. Create other keys with it, then revoke it.",
        f"VIGIE_BOOTSTRAP_ADMIN_KEY={generate_key()}",
    )
    return "\n".join([*lines, ""])


def generate_compose_lines() -> str:
    """Generate the `.env` file that `compose.yaml` reads: every secret of its services."""
    lines = (
        "# Secrets of the containers of compose.yaml. Protect this file, and keep a copy elsewhere.",
        "# Passwords of the database's owner and of each process.",
        f"VIGIE_PASSWORD={generate_password()}",
        *(f"{login.upper()}_PASSWORD={generate_password()}" for login in LOGINS),
        "# The broker's accounts: of Vigie, and for trusted gateways.",
        f"VIGIE_BROKER_PASSWORD={generate_password()}",
        f"VIGIE_GATEWAY_PASSWORD={generate_password()}",
        f"VIGIE_INGEST_CLIENT_ID=vigie-ingest-{secrets.token_hex(8)}",
        "# Encrypts secrets in the database: without it a backup's secrets are lost.",
        f"VIGIE_ENCRYPTION_KEY={generate_encryption_key()}",
        "# With it Prometheus reads the metrics.",
        f"VIGIE_METRICS_TOKEN={generate_password()}",
        "# The first administrator's API key. Create other keys with it, then revoke it.",
        f"VIGIE_BOOTSTRAP_ADMIN_KEY={generate_key()}",
        "# The public name of the API. `localhost` has a certificate that no browser knows.",
        "VIGIE_DOMAIN=localhost",
    )
    return "\n".join([*lines, ""])


def _url(login: str) -> str:
    return f"postgresql://{login}:{generate_password()}@127.0.0.1:5432/vigie"


def _written(path: Path, key: str) -> Path:
    try:
        # Existing keys are never overwritten: no other key decrypts their values.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StandaloneError(f"{path} cannot be created: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{key}\n")
    return path
