"""Starts the measured stack in a temporary folder: PostgreSQL, Mosquitto and databases.

Owns their life, the environment of Vigie's roles, and the fleets registered in them. All goes with it.
"""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from bench.load import box_id, rules
from bench.process import RunningProcess, python
from bench.publisher import BrokerAccount
from simulators.rest_client import ApiClient, ApiError, UnreachableError

SITES: Final = 10
"""Boxes are dealt out to so many sites."""

LIMITS: Final = (
    "VIGIE_API__RATE_PER_S",
    "VIGIE_API__TELEMETRY_RATE_PER_S",
    "VIGIE_API__RUNNING_PER_KEY",
    "VIGIE_API__ORGANISATION_RATE_PER_S",
    "VIGIE_API__ORGANISATION_TELEMETRY_RATE_PER_S",
    "VIGIE_API__RUNNING_PER_ORGANISATION",
)
"""What holds clients back, unless it is 0."""

PASSWORDS: Final = {"gateway": "bench-gateway", "ingest": "bench-ingest"}
"""The broker's accounts of `run_services`."""

_BOXES_PER_CALL: Final = 500
_API_WITHIN_S: Final = 60.0


def free_port() -> int:
    """Find a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class BenchStack:
    """Running services.

    Attributes:
        folder: where logs go.
        postgres: durable, as `vigie up` has it.
        mosquitto: with the limits that `vigie up` gives it.
        admin_key: the key of every database's administrator.
        encryption_key: seals webhooks' secrets.
        patterns: databases with a fleet in them, by what the fleet is.
        settings: further settings of all roles.
    """

    folder: Path
    postgres: PrivatePostgres
    mosquitto: PrivateMosquitto
    admin_key: str
    encryption_key: str
    patterns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def account(self, name: str) -> BrokerAccount:
        """Return the account of `gateway` or `ingest` at the broker."""
        return BrokerAccount(self.mosquitto.host, self.mosquitto.port, name, PASSWORDS[name])

    @property
    def services(self) -> dict[str, int]:
        """The services' processes, by name."""
        return {"postgres": self.postgres.pid, "mosquitto": self.mosquitto.pid}

    def environment(self, database: str, **more: str) -> dict[str, str]:
        """The settings of a role; nothing but addresses, keys and limits differs from the defaults."""
        broker = self.account("ingest")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")},
            "VIGIE_DATABASE__URL": database,
            "VIGIE_BROKER__HOST": broker.host,
            "VIGIE_BROKER__PORT": str(broker.port),
            "VIGIE_BROKER__USERNAME": broker.username,
            "VIGIE_BROKER__PASSWORD": broker.password,
            "VIGIE_WEBHOOKS__ALLOW_PRIVATE": "true",
            "VIGIE_ALLOW_INSECURE": '["webhooks_private", "database_owner"]',
            "VIGIE_BOOTSTRAP_ADMIN_KEY": self.admin_key,
            "VIGIE_ENCRYPTION__KEYS": json.dumps([self.encryption_key]),
            # How much it can do is measured, not how much a client may ask for.
            **dict.fromkeys(LIMITS, "0"),
            **self.settings,
            **more,
        }

    @asynccontextmanager
    async def role(self, name: str, database: str, **more: str) -> AsyncIterator[RunningProcess]:
        """Run a role of Vigie's for the length of a block."""
        environment = self.environment(database, **more)
        async with python("app", name, environment=environment, log=self.folder / f"{name}.log") as running:
            yield running

    @asynccontextmanager
    async def api(self, database: str) -> AsyncIterator[ApiClient]:
        """Run the API role for the length of a block; gives a client of its."""
        async with self.api_role(database) as (client, _):
            yield client

    @asynccontextmanager
    async def api_role(self, database: str, **more: str) -> AsyncIterator[tuple[ApiClient, RunningProcess]]:
        """The same with further settings; gives the process too."""
        port = free_port()
        async with (
            self.role("api", database, VIGIE_API__PORT=str(port), **more) as running,
            ApiClient(f"http://127.0.0.1:{port}", self.admin_key, timeout_s=120.0) as client,
        ):
            await _answers(client)
            yield client, running

    def account_files(self) -> dict[str, str]:
        """The settings with which a role keeps the boxes' accounts at the broker."""
        broker = self.mosquitto
        return {
            "VIGIE_BROKER__PASSWORD_FILE": str(broker.password_file),
            "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(broker.static_password_file),
            "VIGIE_BROKER__PID_FILE": str(broker.pid_file),
        }

    async def database(self, name: str) -> str:
        """A fresh, migrated database; gives its address."""
        await self.drop(name)
        return await self.postgres.create_database(name)

    async def drop(self, name: str) -> None:
        """Remove a database, so that the next one finds the same disk."""
        server = await asyncpg.connect(self.postgres.superuser_url)
        try:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await server.execute("CHECKPOINT")
        finally:
            await server.close()

    async def database_with_fleet(
        self, name: str, *, boxes: int, rules_per_site: int, sites: int, further: Sequence[dict[str, Any]]
    ) -> str:
        """A fresh database in which a fleet is registered; gives its address.

        It is registered once, and copied after that: the arguments are those of `fleet`.
        """
        what = repr((boxes, rules_per_site, sites, further))
        if what not in self.patterns:
            pattern = f"fleet_{len(self.patterns)}"
            database = await self.database(pattern)
            await self.fleet(
                database, boxes=boxes, rules_per_site=rules_per_site, sites=sites, further=further
            )
            self.patterns[what] = pattern
        await self.drop(name)
        return await self.postgres.create_database(name, template=self.patterns[what])

    async def fleet(
        self,
        database: str,
        *,
        boxes: int,
        rules_per_site: int,
        sites: int = SITES,
        further: Sequence[dict[str, Any]] = (),
    ) -> list[str]:
        """Register boxes on sites, and rules on each site, through the API; gives the sites' ids.

        Args:
            database: where.
            boxes: how many, spread over the sites.
            rules_per_site: thresholds on each.
            sites: how many.
            further: the conditions of other rules on each.
        """
        async with self.api(database) as client:
            made = []
            for number in range(sites):
                place = {"type": "Point", "coordinates": [1.44, 43.6]}
                site = {
                    "name": f"Site {number}",
                    "kind": "street",
                    "timezone": "Europe/Paris",
                    "location": place,
                }
                made.append(str((await client.call("POST", "/v1/sites", site))["id"]))
            for start in range(0, boxes, _BOXES_PER_CALL):
                chunk = range(start, min(start + _BOXES_PER_CALL, boxes))
                listed = [{"id": box_id(index), "site_id": made[index % sites]} for index in chunk]
                await client.call("POST", "/v1/boxes/bulk", {"boxes": listed})
            for number, condition in enumerate(rules()[:rules_per_site]):
                rule = {"site_id": made[0], "name": f"Rule {number}", "severity": "info"}
                await client.call("POST", "/v1/rules", {**rule, "condition": condition})
            await _copy_rules(database, made, rules_per_site)
            for condition in further:
                for site_id in made:
                    rule = {"site_id": site_id, "name": "Further", "severity": "info"}
                    await client.call("POST", "/v1/rules", {**rule, "condition": condition})
        return made


async def _copy_rules(database: str, sites: Sequence[str], per_site: int) -> None:
    """Give every site what the first one has, and more of it: thousands of calls would show nothing.

    The copies' thresholds lie further and further outside.
    """
    copies = max(1, per_site // len(rules()))
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO rules (id, organisation_id, site_id, name, severity, definition, enabled, dry_run,"
            " version, created_at, updated_at) SELECT gen_random_uuid(), organisation_id, site::uuid,"
            " name || ' ' || n, severity, jsonb_set(definition, '{levels,0,condition,threshold}',"
            " to_jsonb((definition#>>'{levels,0,condition,threshold}')::float8"
            " + CASE WHEN definition#>>'{levels,0,condition,operator}' = '>' THEN n ELSE -n END)), enabled,"
            " dry_run, version, created_at, updated_at"
            " FROM rules, unnest($1::text[]) AS site, generate_series(0, $2) AS n"
            " WHERE rules.site_id = $3::uuid AND NOT (n = 0 AND site::uuid = $3)",
            list(sites),
            copies - 1,
            sites[0],
        )
    finally:
        await connection.close()


async def _answers(client: ApiClient) -> None:
    async with asyncio.timeout(_API_WITHIN_S):
        while True:
            try:
                await client.call("GET", "/readyz")
            except (UnreachableError, ApiError):
                await asyncio.sleep(0.05)
            else:
                return


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vigie-bench-"))
    folder.chmod(0o755)  # the services' own accounts go through it
    return folder


@asynccontextmanager
async def run_services() -> AsyncIterator[tuple[Path, PrivatePostgres, PrivateMosquitto]]:
    """Run a durable database and a broker in a new folder; at the end stop both, and remove the folder."""
    folder = _folder()
    try:
        async with (
            PrivatePostgres(folder / "postgres", durable=True) as postgres,
            PrivateMosquitto(folder / "mosquitto", accounts=PASSWORDS) as mosquitto,
        ):
            yield folder, postgres, mosquitto
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def stack() -> AsyncIterator[BenchStack]:
    """Start everything; at the end stop it and remove the folder."""
    async with run_services() as (folder, postgres, mosquitto):
        settings = VigieSettings.model_validate({"database": {"url": postgres.url}})
        await asyncio.to_thread(upgrade, settings.database)
        yield BenchStack(folder, postgres, mosquitto, generate_key(), generate_encryption_key())
