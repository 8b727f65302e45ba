"""Renders the configuration and access rules of the private broker. Pure: reads nothing, writes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MIB = 2**20
_GIB = 2**30

# A box publishes under its own id only: `%u` is its username, which is its id. Its topics are listed one by
# one: the broker stores a retained message for each, and with a `+` a box could fill its memory. Alert topics
# contain `@` and an organisation's id, which is the username of their subscriber. Patterns apply to all
# users, so such a subscriber may also publish like a box under its own name: no box has that name, so ingest
# quarantines those messages. Only Vigie's processes may publish below `alerts`.
ACCESS_RULES = """\
# Written by Vigie at each start: changes are lost.
user ingest
topic read $SYS/#
topic read vigie/v1/+/#
topic read application/+/device/+/event/up
topic write vigie/v1/+/ack
topic write vigie/v1/+/config
topic write vigie/v1/+/alerts/#
topic write vigie/v1/measurements/#

user gateway
topic write vigie/v1/+/telemetry
topic write vigie/v1/+/telemetry/+
topic write application/+/device/+/event/up
topic write vigie/v1/+/event
topic write vigie/v1/+/status
topic write vigie/v1/+/config/reported
topic read vigie/v1/+/ack
topic read vigie/v1/+/config

pattern write vigie/v1/%u/telemetry
pattern write vigie/v1/%u/telemetry/cbor
pattern write vigie/v1/%u/telemetry/gzip
pattern write vigie/v1/%u/telemetry/senml
pattern write vigie/v1/%u/event
pattern write vigie/v1/%u/status
pattern write vigie/v1/%u/config/reported
pattern read vigie/v1/%u/ack
pattern read vigie/v1/%u/config
pattern read vigie/v1/%u/alerts/#
pattern read vigie/v1/measurements/%u/#
"""


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker stores for one client that is disconnected or slow."""

    queued_messages: int = 5_000_000
    queued_bytes: int = _GIB
    inflight_messages: int = 65_535
    packet_bytes: int = _MIB


@dataclass(frozen=True, slots=True)
class TlsListener:
    """A TLS listener for boxes on other machines.

    Attributes:
        host: the address to listen on.
        port: the port.
        certificate_file: the broker's certificate and its chain.
        key_file: its private key.
        client_ca_file: the CA of boxes' certificates.
        client_crl_file: the revocation list of that CA.
        clients: how boxes authenticate: by password; by certificate and password; or by certificate alone,
            whose common name is the box's id.
    """

    host: str
    port: int
    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_crl_file: Path | None = None
    clients: Literal["password", "certificate", "identity"] = "password"

    def files(self) -> dict[str, Path]:
        """Return its files, by their names in the broker's folder."""
        found = {
            "tls-certificate.pem": self.certificate_file,
            "tls-key.pem": self.key_file,
            "tls-client-ca.pem": self.client_ca_file if self.clients != "password" else None,
            "tls-client-crl.pem": self.client_crl_file if self.clients != "password" else None,
        }
        return {name: path for name, path in found.items() if path is not None}

    def lines(self, home: Path) -> list[str]:
        """Return its part of `mosquitto.conf`."""
        options = {
            "tls-certificate.pem": "certfile",
            "tls-key.pem": "keyfile",
            "tls-client-ca.pem": "cafile",
            "tls-client-crl.pem": "crlfile",
        }
        lines = [f"listener {self.port} {self.host}"]
        lines += [f"{options[name]} {home / name}" for name in self.files()]
        if self.clients != "password":
            lines.append("require_certificate true")
        if self.clients == "identity":
            lines.append("use_identity_as_username true")
        # The client id is always the username, so that no box can take over another's session.
        lines.append("use_username_as_clientid true")
        return lines


def choose_broker_limits(total_bytes: int) -> BrokerLimits:
    """Return limits for a machine with this much memory.

    The default of Mosquitto (1,000 queued messages) loses data silently, and 0 ("no limit") has bugs. The
    limits are therefore large numbers, bounded by bytes.
    """
    return BrokerLimits(queued_bytes=max(64 * _MIB, min(total_bytes // 8, 2 * _GIB)))


def render_mosquitto_config(
    *, port: int, home: Path, limits: BrokerLimits, tls: TlsListener | None = None, host: str = "127.0.0.1"
) -> str:
    """Return the text of `mosquitto.conf`.

    Args:
        port: its port.
        home: the folder with `passwords`, `acl` and `data/`.
        limits: see `choose_broker_limits`.
        tls: an additional listener.
        host: the address of the port; empty: all addresses of the machine.
    """
    lines = [
        "# Written by Vigie at each start: changes are lost.",
        "per_listener_settings false",
        f"listener {port} {host}".rstrip(),
        "allow_anonymous false",
        f"password_file {home / 'passwords'}",
        f"acl_file {home / 'acl'}",
        "persistence true",
        # With a trailing slash, since the broker only concatenates the two names.
        f"persistence_location {home / 'data'}/",
        "persistence_file mosquitto.db",
        "autosave_interval 60",
        "persistent_client_expiration 14d",
        f"max_queued_messages {limits.queued_messages}",
        f"max_queued_bytes {limits.queued_bytes}",
        f"max_inflight_messages {limits.inflight_messages}",
        f"max_packet_size {limits.packet_bytes}",
        "max_connections -1",
        "queue_qos0_messages false",
        "set_tcp_nodelay true",
        # Bounds the delay until a dropped message is noticed.
        "sys_interval 2",
        # Standard error is the log file: the supervisor opens, rotates and shows it.
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        # Otherwise a reconnecting fleet would fill the disk, with two lines per box.
        "connection_messages false",
        *(tls.lines(home) if tls is not None else []),
    ]
    return "\n".join([*lines, ""])
