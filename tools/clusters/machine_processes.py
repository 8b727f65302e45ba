"""Makes the configuration files and the command lines of the programs of one machine."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

from app.platform.broker.mosquitto_password_hash import format_password_line
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.mosquitto_config import ACCESS_RULES, BrokerLimits, render_mosquitto_config
from app.standalone.postgres_config import choose_postgres_memory
from app.standalone.private_postgres import DATABASE, LOGINS, OWNER, SUPERUSER
from app.standalone.service_directories import make_folder
from app.standalone.unprivileged_accounts import build_file_limit_command, find_service_account
from tools.clusters.city_components import ROLES, Machine, PostgresComponent, ProgramComponent
from tools.clusters.cluster_nodes import find_server

POSTGRES_PORT: Final = 5432
PATRONI_PORT: Final = 8008
ETCD_PORT: Final = 2379
MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
API_PORT: Final = 8000
HTTPS_PORT: Final = 443
NATS_PORTS: Final = {"client": 4222, "route": 6222, "monitor": 8222}

METRICS_PORTS: Final = {"edge": 9101, "ingest": 9102, "deliver": 9103, "maintain": 9104}
"""Ports of `/metrics` and `/healthz` by role."""

_CERTIFICATE: Final = "certificate-and-key.pem"
_MIB: Final = 2**20
_DATABASE_MIB: Final = 512
_PATH: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
# The network of the machines is inside one machine, and so is the receiver of the webhooks.
_ALLOWED: Final = ("database_without_tls", "broker_without_tls", "api_without_tls", "webhooks_private")
# `vigie edge` uses the login of `vigie maintain`.
_LOGIN_OF_ROLE: Final = {"edge": "vigie_maintain"}


@dataclass
class CitySecrets:
    """The passwords and keys of a cluster, made anew for each.

    Attributes:
        database: Passwords by login of the database.
        brokers: Passwords by account of the brokers.
        log: The password of the message log.
        patroni: The password of the account `vigie` at Patroni's REST API.
        admin_key: The key of the platform administrator.
        encryption_key: The key that encrypts stored secrets.
    """

    database: dict[str, str] = field(
        default_factory=lambda: {
            name: os.urandom(12).hex() for name in (SUPERUSER, "replicator", OWNER, *LOGINS)
        }
    )
    brokers: dict[str, str] = field(
        default_factory=lambda: {name: os.urandom(12).hex() for name in ("ingest", "gateway")}
    )
    log: str = field(default_factory=lambda: os.urandom(12).hex())
    patroni: str = field(default_factory=lambda: os.urandom(12).hex())
    admin_key: str = field(default_factory=generate_key)
    encryption_key: str = field(default_factory=generate_encryption_key)


@dataclass
class MachineBuilder:
    """Makes the programs of each machine.

    Attributes:
        folder: The files of the cluster.
        machines: All machines.
        network: Their addresses, as `a.b.c.0/24`.
        proxy: The address of haproxy.
        secrets: Passwords and keys.
        partitions: Partitions of the message log.
        settings: Further settings of Vigie's processes.
        python: The interpreter of Vigie's processes; a rehearsal of an upgrade has that of another version.
    """

    folder: Path
    machines: Sequence[Machine]
    network: str
    proxy: str
    secrets: CitySecrets
    partitions: int
    settings: Mapping[str, str]
    python: Path = Path(sys.executable)

    @property
    def authority_file(self) -> Path:
        """The certificate of the authority of the brokers and of haproxy, which boxes and clients trust."""
        return self.folder / "authority.pem"

    @property
    def certificate_file(self) -> Path:
        """The certificate of brokers and haproxy with its key."""
        return self.folder / _CERTIFICATE

    def make_certificate(self) -> None:
        """Make the certificate. It names the address of haproxy, to which boxes and clients connect."""
        authority = trustme.CA()
        broker = authority.issue_cert(self.proxy)
        authority.cert_pem.write_to_path(self.authority_file)
        broker.private_key_and_cert_chain_pem.write_to_path(self.certificate_file)

    def database_url(self, login: str, database: str = DATABASE) -> str:
        """Return the address of the database for a login. It names all hosts."""
        hosts = ",".join(f"{machine.host}:{POSTGRES_PORT}" for machine in self.machines)
        return f"postgresql://{login}:{self.secrets.database[login]}@{hosts}/{database}"

    def add_components(self, machine: Machine) -> None:
        """Write the files of a machine, and add its programs."""
        machine.folder.mkdir(parents=True, exist_ok=True)
        machine.folder.chmod(0o711)
        machine.components |= {
            "etcd": self._make_etcd(machine),
            "patroni": self._make_patroni(machine),
            "postgres": PostgresComponent(machine.folder / "postgres" / "data"),
            "nats": self._make_nats(machine),
            "mosquitto": self._make_mosquitto(machine),
            **{role: self.make_role(machine, role) for role in ROLES},
        }

    def _make_etcd(self, machine: Machine) -> ProgramComponent:
        account = find_service_account("postgres")
        home = make_folder(machine.folder / "etcd", 0o700, account)
        members = ",".join(f"{each.name}=http://{each.host}:2380" for each in self.machines)
        text = render_deploy_file(
            "ha/etcd.yml", name=machine.name, data=home / "data", host=machine.host, members=members
        )
        config = home / "etcd.yml"
        replace_file_text(config, text, mode=0o644)
        words = [find_server("etcd", "etcd-server"), "--config-file", str(config)]
        return ProgramComponent("etcd", machine.place, home, {}, None, words, _PATH, account)

    def _make_patroni(self, machine: Machine) -> ProgramComponent:
        account = find_service_account("postgres")
        home = make_folder(machine.folder / "postgres", 0o700, account)
        memory = choose_postgres_memory(_DATABASE_MIB * _MIB)
        conf = render_deploy_file(
            "server/postgresql/vigie.conf",
            total_mib=_DATABASE_MIB,
            shared_buffers=memory.shared_buffers,
            effective_cache_size=memory.effective_cache_size,
            maintenance_work_mem=memory.maintenance_work_mem,
            work_mem=memory.work_mem,
        )
        replace_file_text(home / "vigie.conf", conf, mode=0o644)
        script = home / "archive-missing-wal.sh"
        replace_file_text(script, render_deploy_file("ha/archive-missing-wal.sh"), mode=0o644)
        text = render_deploy_file(
            "ha/patroni.yml",
            name=machine.name,
            host=machine.host,
            api_port=PATRONI_PORT,
            etcd=",".join(f"{each.host}:{ETCD_PORT}" for each in self.machines),
            port=POSTGRES_PORT,
            data=home / "data",
            conf=home / "vigie.conf",
            sockets=home,
            network=self.network,
            archive_script=script,
            pgbackrest_conf=home / "pgbackrest.conf",
        )
        config = home / "patroni.yml"
        replace_file_text(config, text, mode=0o644)
        environment = {
            **_PATH,
            "PATRONI_SUPERUSER_PASSWORD": self.secrets.database[SUPERUSER],
            "PATRONI_REPLICATION_PASSWORD": self.secrets.database["replicator"],
            "PATRONI_RESTAPI_USERNAME": "vigie",
            "PATRONI_RESTAPI_PASSWORD": self.secrets.patroni,
        }
        words = [find_server("patroni", "patroni"), str(config)]
        return ProgramComponent("patroni", machine.place, home, {}, None, words, environment, account)

    def _make_nats(self, machine: Machine) -> ProgramComponent:
        home = make_folder(machine.folder / "nats", 0o700)
        routes = ", ".join(f'"nats://{each.host}:{NATS_PORTS["route"]}"' for each in self.machines)
        text = render_deploy_file(
            "ha/nats.conf",
            name=machine.name,
            host=machine.host,
            store=home / "store",
            routes=routes,
            username="vigie",
            password=self.secrets.log,
            max_file_store=16 * 2**30,
            **NATS_PORTS,
        )
        config = home / "nats.conf"
        replace_file_text(config, text)
        words = [find_server("nats-server", "nats-server"), "--config", str(config)]
        return ProgramComponent("nats", machine.place, home, {}, None, words, _PATH)

    def _make_mosquitto(self, machine: Machine) -> ProgramComponent:
        account = find_service_account("mosquitto")
        # The set-group-id bit lets the broker read the files that `vigie edge` writes here.
        home = make_folder(machine.folder / "mosquitto", 0o2750, account, group_only=True)
        make_folder(home / "data", 0o700, account)
        lines = "".join(f"{format_password_line(*each)}\n" for each in self.secrets.brokers.items())
        text = render_mosquitto_config(
            port=MQTT_PORT, home=home, limits=BrokerLimits(queued_bytes=256 * _MIB), host=""
        )
        text += render_deploy_file(
            "server/mosquitto/vigie-tls.conf", mqtts_port=MQTTS_PORT, broker_settings=home
        )
        if not self.certificate_file.exists():
            self.make_certificate()
        for name, content in (
            ("passwords.static", lines),
            ("passwords", lines),
            ("acl", ACCESS_RULES),
            ("mosquitto.conf", text),
            (_CERTIFICATE, self.certificate_file.read_text(encoding="utf-8")),
        ):
            replace_file_text(home / name, content, mode=0o640)
            if account is not None:
                os.chown(home / name, 0, account.gid)
        words = build_file_limit_command(
            [find_server("mosquitto", "mosquitto"), "-c", str(home / "mosquitto.conf")]
        )
        return ProgramComponent(
            "mosquitto", machine.place, home, {}, None, words, _PATH, account, home / "mosquitto.pid"
        )

    def make_role(self, machine: Machine, role: str) -> ProgramComponent:
        """Make a process of Vigie, such as `api`, or a command, such as `migrate`."""
        home = make_folder(machine.folder / "vigie", 0o700)
        make_folder(home / "metrics", 0o700)
        words = [str(self.python), "-P", "-m", "app", role]
        return ProgramComponent(
            role, machine.place, home, {}, None, words, self._build_environment(machine, role, home)
        )

    def _build_environment(self, machine: Machine, role: str, home: Path) -> dict[str, str]:
        login = OWNER if role == "migrate" else _LOGIN_OF_ROLE.get(role, f"vigie_{role}")
        broker = machine.folder / "mosquitto"
        return {
            **_PATH,
            "HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "VIGIE_ALLOW_INSECURE": json.dumps(_ALLOWED),
            "VIGIE_DATABASE__URL": self.database_url(login),
            "VIGIE_BOOTSTRAP_ADMIN_KEY": self.secrets.admin_key,
            "VIGIE_ENCRYPTION__KEYS": json.dumps([self.secrets.encryption_key]),
            "VIGIE_MESSAGE_LOG__ENGINE": "jetstream",
            "VIGIE_MESSAGE_LOG__SERVERS": json.dumps(
                [f"{each.host}:{NATS_PORTS['client']}" for each in self.machines]
            ),
            "VIGIE_MESSAGE_LOG__USERNAME": "vigie",
            "VIGIE_MESSAGE_LOG__PASSWORD": self.secrets.log,
            "VIGIE_MESSAGE_LOG__PARTITIONS": str(self.partitions),
            "VIGIE_MESSAGE_LOG__MAX_BYTES": str(512 * _MIB),
            "VIGIE_EDGE__NAME": machine.name,
            "VIGIE_EDGE__HOST": machine.host,
            "VIGIE_EDGE__PORT": str(MQTT_PORT),
            "VIGIE_INGEST__CLIENT_ID": f"vigie-edge-{machine.name}-{self.secrets.log[:8]}",
            "VIGIE_BROKER__HOST": machine.host,
            "VIGIE_BROKER__PORT": str(MQTT_PORT),
            "VIGIE_BROKER__USERNAME": "ingest",
            "VIGIE_BROKER__PASSWORD": self.secrets.brokers["ingest"],
            "VIGIE_BROKER__PASSWORD_FILE": str(broker / "passwords"),
            "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(broker / "passwords.static"),
            "VIGIE_BROKER__PID_FILE": str(broker / "mosquitto.pid"),
            "VIGIE_API__HOST": machine.host,
            "VIGIE_API__PORT": str(API_PORT),
            "VIGIE_API__WORKERS": "1",
            "VIGIE_API__TRUSTED_PROXIES": json.dumps([self.proxy]),
            "VIGIE_METRICS_PORT": str(METRICS_PORTS.get(role, 0)),
            "VIGIE_WEBHOOKS__ALLOW_PRIVATE": "true",
            **self.settings,
        }
