"""The secrets of a new installation, for roles that `vigie up` does not run. None is kept here."""

import json
import os
import secrets
from pathlib import Path

from app.platform.kernel.api_keys import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone.private_postgres import LOGINS
from app.standalone.secret_store import generate_password
from app.standalone.service_accounts import StandaloneError


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
