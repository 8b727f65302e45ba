"""Names the files, accounts and units of a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACCOUNT: Final = "vigie"
BROKER_ACCOUNT: Final = "mosquitto"
PROXY_ACCOUNT: Final = "caddy"
CLUSTER_VERSION: Final = "17"
CLUSTER_NAME: Final = "vigie"
CLUSTER_UNIT: Final = f"postgresql@{CLUSTER_VERSION}-{CLUSTER_NAME}.service"
PATRONI_UNIT: Final = "patroni.service"
BROKER_UNIT: Final = "mosquitto.service"
PROXY_UNIT: Final = "caddy.service"
TARGET: Final = "vigie.target"
ROLES: Final = ("api", "ingest", "deliver", "maintain")
EDGE: Final = "edge"
"""The process of a server with a message log, which uses the database login of `maintain`."""
LOCAL_SETTINGS: Final = (*ROLES, EDGE)
"""The processes that may have a file `ROLE.local.env`."""
CERTIFICATE_COPY: Final = "certificate-and-key.pem"
"""One file with both parts, which is replaced atomically: a broker never reads a new and an old part."""

RELOAD_PATH_UNIT: Final = "vigie-broker-reload.path"
CERTIFICATE_UNITS: Final = ("vigie-certificate.timer", "vigie-certificate.path")


@dataclass(frozen=True, slots=True)
class ServerPaths:
    """Paths of a server, below `root`: tests use a folder of their own."""

    root: Path = Path("/")

    @property
    def settings(self) -> Path:
        """Settings and secrets."""
        return self.root / "etc/vigie"

    @property
    def options_file(self) -> Path:
        """The options of the installation. A machine with this file is a server."""
        return self.settings / "server.toml"

    @property
    def keys_file(self) -> Path:
        """The encryption keys."""
        return self.settings / "encryption-keys"

    @property
    def gateway_file(self) -> Path:
        """The broker's account for trusted gateways."""
        return self.settings / "gateway.env"

    @property
    def state(self) -> Path:
        """Files that the processes write outside of the database."""
        return self.root / "var/lib/vigie"

    @property
    def broker_state(self) -> Path:
        """The broker's accounts. The processes write here, and the broker reads."""
        return self.state / "broker"

    @property
    def broker_settings(self) -> Path:
        """The broker's access rules and certificate. Root writes here, and the broker reads."""
        return self.root / "etc/mosquitto/vigie"

    def pending_units_file(self, command: str) -> Path:
        """The units that `install` or `certificate` has still to restart or reload. Both may run at once.

        vigie-certificate.service may write in this folder.
        """
        return self.broker_settings / f"pending-units-{command}.json"

    @property
    def broker_conf(self) -> Path:
        """Configuration files that Debian's broker includes."""
        return self.root / "etc/mosquitto/conf.d"

    @property
    def log_conf(self) -> Path:
        """The configuration of NATS, which the administrator of one of several machines writes."""
        return self.root / "etc/nats-server.conf"

    @property
    def proxy_settings(self) -> Path:
        """The configuration of Caddy."""
        return self.root / "etc/caddy"

    @property
    def proxy_certificates(self) -> Path:
        """The certificates that Caddy obtained."""
        return self.root / "var/lib/caddy/.local/share/caddy/certificates"

    @property
    def cluster_conf(self) -> Path:
        """Configuration files that the cluster includes."""
        return self.root / "etc/postgresql" / CLUSTER_VERSION / CLUSTER_NAME / "conf.d"

    @property
    def units(self) -> Path:
        """Units of the administrator."""
        return self.root / "etc/systemd/system"

    @property
    def command(self) -> Path:
        """The command `vigie` of administrators."""
        return self.root / "usr/local/bin/vigie"

    @property
    def current(self) -> Path:
        """The link to the release that runs."""
        return self.root / "opt/vigie/current"

    def env_file(self, name: str) -> Path:
        """Return a file of settings: `vigie`, `migrate` or a role."""
        return self.settings / f"{name}.env"


def is_server(paths: ServerPaths | None = None) -> bool:
    """Return whether this machine was installed as a server."""
    return (paths or ServerPaths()).options_file.exists()
