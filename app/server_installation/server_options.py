"""Reads and writes the options of a server's installation (`/etc/vigie/server.toml`)."""

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.standalone.unprivileged_accounts import StandaloneError

# A host name, or an address with an optional port, as Caddy and certificates take them.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PORTS: Final = ("api_port", "mqtt_port", "mqtts_port")
_MAX_PORT: Final = 65_532
_COMMENTS: Final = {
    "name": "Public host name: Caddy serves the API there with TLS, boxes connect to it. Empty: the API and "
    "the broker are on 127.0.0.1 only.",
    "certificate": "Certificate with its chain, and its private key (PEM). Empty: Caddy obtains and renews "
    "one (ACME).",
    "key": "",
    "api_port": "Port of the API on 127.0.0.1. The three ports after it have the metrics of ingest, deliver "
    "and maintain.",
    "mqtt_port": "Port of the broker on 127.0.0.1.",
    "mqtts_port": "Port of the broker for boxes, with TLS.",
    "workers": "Processes that serve the API: one for two cores by default.",
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
        metrics = [self.api_port + number for number in (1, 2, 3)]
        if len({*ports, *metrics}) < len(ports) + len(metrics):
            raise StandaloneError(
                "--api-port (and the three after it), --mqtt-port and --mqtts-port must differ"
            )
        if not all(0 < port <= _MAX_PORT for port in ports):
            raise StandaloneError(f"ports are numbers from 1 to {_MAX_PORT}")
        if self.workers < 1:
            raise StandaloneError("--workers: at least 1")


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
