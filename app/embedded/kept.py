"""Secrets made at the first start and kept in the data directory (0600)."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.encryption_settings import EncryptionSettings
from app.core.files import replace_text
from app.core.keys import generate_key
from app.core.sealing import generate_encryption_key
from app.embedded.account import EmbeddedError


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a stack must remember to be the same stack again."""

    admin_key: str
    gateway_password: str
    ingest_password: str
    encryption_key: str


def keep_secrets(path: Path, admin_key: str | None) -> Secrets:
    """Read the secrets, or make and write those that are missing.

    Args:
        path: the file.
        admin_key: the administrator's key where the settings give one; it replaces the one kept.

    Raises:
        EmbeddedError: the file is not what was written.
    """
    kept: dict[str, str] = {}
    if path.exists():
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            kept = {str(name): str(value) for name, value in read.items()}
        except (ValueError, AttributeError) as error:
            raise EmbeddedError(f"{path} cannot be read: {error}") from error
    found = Secrets(
        admin_key=admin_key or kept.get("admin_key") or generate_key(),
        gateway_password=kept.get("gateway_password") or secrets.token_urlsafe(24),
        ingest_password=kept.get("ingest_password") or secrets.token_urlsafe(24),
        encryption_key=kept.get("encryption_key") or generate_encryption_key(),
    )
    if asdict(found) != kept:
        replace_text(path, json.dumps(asdict(found), indent=1), mode=0o600)
    return found


def encryption_keys(settings: EncryptionSettings, kept: str) -> list[str]:
    """The keys that the roles get, in base64: the operator's own, then the one that is kept.

    The kept one comes last wherever the operator gives keys: what it sealed before can still be opened.

    Args:
        settings: What the operator gives.
        kept: The key of the data directory.

    Raises:
        EmbeddedError: the operator's file cannot be read any more.
    """
    try:
        keys = [base64.b64encode(key).decode() for key in settings.key_bytes()]
    except ValueError as error:
        raise EmbeddedError(f"VIGIE_ENCRYPTION__KEYS_FILE: {error}") from error
    return [*keys, kept] if kept not in keys else keys
