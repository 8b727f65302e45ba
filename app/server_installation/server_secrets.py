"""Generates the secrets of a server at the first installation, and reads them from its settings later.

They are only in the files of `/etc/vigie`. An installation never replaces an existing secret: use `vigie
secrets rotate` and `ALTER ROLE`.
"""

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from app.platform.kernel.secret_tokens import generate_key
from app.server_installation.server_paths import ROLES, ServerPaths
from app.standalone.secret_store import generate_password
from app.standalone.unprivileged_accounts import StandaloneError

DATABASE_URL: Final = "VIGIE_DATABASE__URL"
BROKER_PASSWORD: Final = "VIGIE_BROKER__PASSWORD"  # noqa: S105 (a variable's name)
GATEWAY_PASSWORD: Final = "GATEWAY_PASSWORD"  # noqa: S105 (a variable's name)
CLIENT_ID: Final = "VIGIE_INGEST__CLIENT_ID"
ADMIN_KEY: Final = "VIGIE_BOOTSTRAP_ADMIN_KEY"


@dataclass(frozen=True, slots=True)
class ServerSecrets:
    """The secrets of a server.

    Attributes:
        database: Passwords of the database's logins: of each role, and of the owner as `migrate`.
        broker_password: Of the broker's account `ingest`.
        gateway_password: Of the broker's account `gateway`.
        client_id: The name of the consumer's session at the broker.
        admin_key: The first administrator's API key; None once the administrator removed it.
    """

    database: Mapping[str, str]
    broker_password: str
    gateway_password: str
    client_id: str
    admin_key: str | None


def read_env_file(path: Path) -> dict[str, str]:
    """Read a file of variables as systemd does; empty if there is none.

    Raises:
        StandaloneError: It cannot be read.
    """
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [
            line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", ";"))
        ]
        return {name.strip(): "".join(shlex.split(value)) for name, _, value in pairs}
    except (OSError, ValueError) as error:
        raise StandaloneError(f"{path} cannot be read: {error}") from error


def load_or_generate_secrets(paths: ServerPaths) -> ServerSecrets:
    """Read the secrets from the settings, and generate missing ones.

    The administrator's key is generated only with the first settings of the API: an administrator should
    revoke and remove it.

    Raises:
        StandaloneError: A file of settings cannot be read.
    """
    found = {name: read_env_file(paths.env_file(name)) for name in ("vigie", "migrate", *ROLES)}
    gateway = read_env_file(paths.gateway_file)
    is_first = not paths.env_file("api").exists()
    return ServerSecrets(
        database={
            name: _password(found[name].get(DATABASE_URL, "")) or generate_password()
            for name in ("migrate", *ROLES)
        },
        broker_password=found["vigie"].get(BROKER_PASSWORD) or generate_password(),
        gateway_password=gateway.get(GATEWAY_PASSWORD) or generate_password(),
        client_id=found["ingest"].get(CLIENT_ID) or f"vigie-ingest-{secrets.token_hex(8)}",
        admin_key=generate_key() if is_first else found["api"].get(ADMIN_KEY),
    )


def _password(url: str) -> str:
    account = urlsplit(url).netloc.rpartition("@")[0]
    return unquote(account.partition(":")[2])
