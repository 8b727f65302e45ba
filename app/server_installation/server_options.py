"""Reads and writes the options of a server's installation (`/etc/vigie/server.toml`)."""

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.server_installation.server_paths import CLUSTER_UNIT, EDGE, PATRONI_UNIT, ROLES
from app.standalone.unprivileged_accounts import StandaloneError

# A host name, or an address with an optional port, as Caddy and certificates take them.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Host and port, separated by commas.
_ADDRESSES: Final = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(?:,[A-Za-z0-9.-]+:[0-9]{1,5})*")
_EDGE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PORTS: Final = ("api_port", "mqtt_port", "mqtts_port")
_MAX_PORT: Final = 65_532
_COMMENTS: Final = {
    "name": "Public host name: Caddy serves the API there with TLS, boxes connect to it. Empty: the API and "
    "the broker are on 127.0.0.1 only.",
    "certificate": "Certificate with its chain, and its private key (PEM). Empty: Caddy obtains and renews "
    "one (ACME).",
    "key": "",
    "api_port": "Port of the API on 127.0.0.1. The ports after it have the metrics of ingest, deliver, "
    "maintain and, with `edge`, the edge.",
    "mqtt_port": "Port of the broker on 127.0.0.1.",
    "mqtts_port": "Port of the broker for boxes, with TLS.",
    "workers": "Processes that serve the API: one for two cores by default.",
    "edge": "With several brokers: the name of this machine's edge, another one on each machine. Empty: one "
    "broker, which ingest reads itself.",
    "edge_host": "The address at which the other machines and the load balancer reach this broker, this API "
    "and the edge's metrics.",
    "log_servers": "The nodes of the message log (JetStream), as host:port, separated by commas.",
    "database_hosts": "The hosts of a database under Patroni, as host:port, separated by commas. Empty: a "
    "cluster of PostgreSQL on this machine.",
    "load_balancer": "The address from which the load balancer sends requests to the API.",
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of `vigie install --server`; `_COMMENTS` describes them."""

    name: str = ""
    certificate: str = ""
    key: str = ""
    api_port: int = 8000
    mqtt_port: int = 1883
    mqtts_port: int = 8883
    workers: int = 1
    edge: str = ""
    edge_host: str = ""
    log_servers: str = ""
    database_hosts: str = ""
    load_balancer: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """The processes of this server."""
        return (*ROLES, EDGE) if self.edge else ROLES

    @property
    def database_unit(self) -> str:
        """The unit that runs PostgreSQL."""
        return PATRONI_UNIT if self.database_hosts else CLUSTER_UNIT

    @property
    def has_other_machines(self) -> bool:
        """Whether processes reach the message log or the database on other machines."""
        return bool(self.edge or self.database_hosts)

    def check(self) -> None:
        """Check the options against each other.

        Raises:
            StandaloneError: They are invalid; the message names the option and what to do.
        """
        if self.name and not _NAME.fullmatch(self.name):
            raise StandaloneError(f"--name {self.name}: give a host name, such as vigie.example.com")
        if bool(self.certificate) != bool(self.key):
            raise StandaloneError("--certificate and --key belong together: give both, or neither")
        if self.certificate and not self.name:
            raise StandaloneError("--certificate needs --name: the host name that the certificate is for")
        for each in (self.certificate, self.key):
            if each and not each.startswith("/"):
                raise StandaloneError(f"{each}: give an absolute path")
        ports = [getattr(self, name) for name in _PORTS]
        count = len(self.roles)
        metrics = [self.api_port + number for number in range(1, count)]
        if len({*ports, *metrics}) < len(ports) + len(metrics):
            raise StandaloneError(
                f"--api-port (and the {count - 1} ports after it), --mqtt-port and --mqtts-port must differ"
            )
        if not all(0 < port <= _MAX_PORT for port in ports):
            raise StandaloneError(f"ports are numbers from 1 to {_MAX_PORT}")
        if self.workers < 1:
            raise StandaloneError("--workers: at least 1")
        self._check_other_machines()

    def _check_other_machines(self) -> None:
        """Check the options of several machines."""
        if self.edge and not _EDGE_NAME.fullmatch(self.edge):
            raise StandaloneError(f"--edge {self.edge}: up to 64 letters, digits, dots, hyphens, underscores")
        if bool(self.edge) != bool(self.edge_host) or bool(self.edge) != bool(self.log_servers):
            raise StandaloneError("--edge, --edge-host and --log-servers belong together: give all, or none")
        if self.edge and not self.database_hosts:
            raise StandaloneError(
                "--edge needs --database-hosts: all machines share one database, which has the positions in "
                "the message log. Give its hosts, as host:port"
            )
        for option, value in (("--edge-host", self.edge_host), ("--load-balancer", self.load_balancer)):
            if value and not _NAME.fullmatch(value):
                raise StandaloneError(f"{option} {value}: give an address, such as 10.0.0.1")
        if self.load_balancer and not self.edge:
            raise StandaloneError("--load-balancer needs --edge: it stands in front of several machines")
        for option, value in (("--log-servers", self.log_servers), ("--database-hosts", self.database_hosts)):
            if value and not _ADDRESSES.fullmatch(value):
                raise StandaloneError(f"{option} {value}: give host:port, separated by commas")


def read_options(path: Path, defaults: ServerOptions) -> ServerOptions:
    """Read the stored options; those that the file lacks have their defaults.

    Raises:
        StandaloneError: The file is invalid.
    """
    if not path.exists():
        return defaults
    try:
        stored: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StandaloneError(f"{path} cannot be read: {error}") from error
    known = {field.name: field.type for field in dataclasses.fields(ServerOptions)}
    for name, value in stored.items():
        if name not in known:
            raise StandaloneError(f"{path}: no option is named {name}; the options are {', '.join(known)}")
        if type(value) is not known[name]:
            raise StandaloneError(f"{path}: {name} must be a {'number' if known[name] is int else 'text'}")
    return dataclasses.replace(defaults, **stored)


def render_options(options: ServerOptions) -> str:
    """Render the options file."""
    lines = [
        "# Options of `vigie install --server`, which reads this file at each run. Options of its command",
        "# line have precedence, and are written here. After you edit this file, run the command again.",
    ]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        comment = _COMMENTS[field.name]
        lines += ["", f"# {comment}"] if comment else []
        lines.append(f"{field.name} = {value}" if isinstance(value, int) else f'{field.name} = "{value}"')
    return "\n".join([*lines, ""])
