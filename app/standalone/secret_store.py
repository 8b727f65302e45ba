"""Secrets made at the first start and kept in the data directory (0600); the file of keys made from them.

Owns what is kept and how it is written: under a lock, for `vigie secrets rotate` may come in between. What
rotating means to others is `rotation`'s.

The secrets of a new installation, for roles that `vigie up` does not run. None is kept here.
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
from app.platform.kernel.api_keys import generate_key
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone.data_directory import DataDirectory
from app.standalone.private_postgres import LOGINS
from app.standalone.service_accounts import StandaloneError


@dataclass(frozen=True, slots=True)
class StackSecrets:
    """What a stack must remember to be the same stack again.

    Attributes:
        admin_key: the platform administrator's.
        gateway_password: of the broker's account `gateway`.
        ingest_password: of the roles' account.
        ingest_client_id: the name of the consumer's session at the broker.
        encryption_key: seals, in base64.
        former_encryption_keys: those before it, which open only; the newest first.
    """

    admin_key: str
    gateway_password: str
    ingest_password: str
    ingest_client_id: str
    encryption_key: str
    former_encryption_keys: tuple[str, ...] = ()


def generate_password() -> str:
    """A password of 192 bits of chance, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(24)


def load_or_create_secrets(path: Path, admin_key: str | None) -> StackSecrets:
    """Read the secrets, or make and write those that are missing.

    Args:
        path: the file.
        admin_key: the administrator's key where the settings give one; it replaces the one kept.

    Raises:
        EmbeddedError: the file is not what was written.
    """
    with lock_secrets(path):
        kept = _read(path)
        ingest_password = _text(kept, "ingest_password") or generate_password()
        found = StackSecrets(
            admin_key=admin_key or _text(kept, "admin_key") or generate_key(),
            gateway_password=_text(kept, "gateway_password") or generate_password(),
            ingest_password=ingest_password,
            ingest_client_id=_text(kept, "ingest_client_id") or _client_id(ingest_password),
            encryption_key=_text(kept, "encryption_key") or generate_encryption_key(),
            former_encryption_keys=tuple(map(str, kept.get("former_encryption_keys") or ())),
        )
        if _as_json(found) != kept:
            _write(path, found)
        return found


def change_secrets(path: Path, **changes: Any) -> StackSecrets:  # noqa: ANN401 (whatever the fields hold)
    """Change some of the secrets that are kept; to be called within `lock_secrets`.

    Raises:
        EmbeddedError: there are none, or not all of them.
    """
    found = replace(load_secrets(path), **changes)
    _write(path, found)
    return found


def load_secrets(path: Path) -> StackSecrets:
    """The secrets that are kept (EmbeddedError where there are none)."""
    kept = _read(path)
    try:
        former = tuple(map(str, kept.pop("former_encryption_keys", ())))
        return StackSecrets(**kept, former_encryption_keys=former)
    except TypeError as error:
        raise StandaloneError(
            f"{path} does not hold all secrets of a stack: `vigie up` has to have run on it"
        ) from error


@contextmanager
def lock_secrets(path: Path) -> Iterator[None]:
    """Keep others from changing the secrets: of two that read, change and write, one would be lost."""
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


def _text(kept: dict[str, Any], name: str) -> str:
    return str(kept.get(name) or "")


def _as_json(found: StackSecrets) -> dict[str, Any]:
    return {**asdict(found), "former_encryption_keys": list(found.former_encryption_keys)}


def _write(path: Path, found: StackSecrets) -> None:
    replace_file_text(path, json.dumps(_as_json(found), indent=1), mode=0o600)


def _client_id(password: str) -> str:
    """The name of the consumer's session: nobody else's to guess, and for ever the same here.

    A broker hands a session over to whoever connects under its name, with any account: a box that knew it
    could throw away what is queued. Kept apart from the password, which may be replaced while it is not.
    """
    return f"vigie-ingest-{hashlib.sha256(password.encode()).hexdigest()[:16]}"


def list_encryption_keys(settings: EncryptionSettings, kept: StackSecrets) -> list[str]:
    """The keys that the roles get, in base64: the operator's own, then those that are kept.

    The kept ones come last wherever the operator gives keys: what they sealed before can still be opened.

    Args:
        settings: What the operator gives.
        kept: What is kept.

    Raises:
        EmbeddedError: the operator's file cannot be read any more.
    """
    try:
        own = [base64.b64encode(key).decode() for key in settings.key_bytes()]
    except ValueError as error:
        raise StandaloneError(f"VIGIE_ENCRYPTION__KEYS_FILE: {error}") from error
    return list(dict.fromkeys([*own, kept.encryption_key, *kept.former_encryption_keys]))


def write_key_file(layout: DataDirectory, settings: EncryptionSettings) -> None:
    """Write the file of keys that the roles follow; to be called within `lock_secrets`.

    Raises:
        EmbeddedError: as `list_encryption_keys`, or nothing is kept.
    """
    keys = list_encryption_keys(settings, load_secrets(layout.secrets_file))
    replace_file_text(layout.keys_file, "\n".join([*keys, ""]), mode=0o600)


def generate_env_lines(keys_file: Path | None) -> str:
    """Lines of a `.env` file with every secret that the roles need, each made by chance.

    Args:
        keys_file: Where to write the encryption key (0600), so that it can be replaced without a restart;
            None: it is among the lines.

    Raises:
        EmbeddedError: The file is there already, or cannot be written.
    """
    key = generate_encryption_key()
    if keys_file is None:
        sealing = f"VIGIE_ENCRYPTION__KEYS='{json.dumps([key])}'"
    else:
        sealing = f"VIGIE_ENCRYPTION__KEYS_FILE={_written(keys_file.absolute(), key)}"
    lines = (
        "# Secrets of one installation. Keep this file closed (chmod 600), and a copy of it elsewhere.",
        "# For `vigie migrate` alone. PostgreSQL's account has the same password (psql: \\password vigie).",
        f"VIGIE_DATABASE__URL={_url('vigie')}",
        "# For each role its own in place of that: deploy/roles.sql makes the accounts, without passwords.",
        *(f"# {login.removeprefix('vigie_')}: VIGIE_DATABASE__URL={_url(login)}" for login in LOGINS),
        "# For mosquitto_passwd: the roles' account, and one for trusted gateways (not a setting of Vigie).",
        "VIGIE_BROKER__USERNAME=ingest",
        f"VIGIE_BROKER__PASSWORD={generate_password()}",
        f"# gateway: {generate_password()}",
        f"VIGIE_INGEST__CLIENT_ID=vigie-ingest-{secrets.token_hex(8)}",
        "# For the roles api, deliver and maintain.",
        sealing,
        "# For the role api. Make other keys with it, then revoke it.",
        f"VIGIE_BOOTSTRAP_ADMIN_KEY={generate_key()}",
    )
    return "\n".join([*lines, ""])


def _url(login: str) -> str:
    return f"postgresql://{login}:{generate_password()}@127.0.0.1:5432/vigie"


def _written(path: Path, key: str) -> Path:
    try:
        # Never over keys that there are: what they sealed opens with no other.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StandaloneError(f"{path} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{key}\n")
    return path
