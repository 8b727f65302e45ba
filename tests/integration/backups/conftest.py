"""A small cluster that archives its WAL with the real pgBackRest."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from app.backups.backup_run import make_backup
from app.backups.backup_target import BackupTarget
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import list_archive_settings
from app.backups.recovery_key import RecoveryPrivateKey
from app.backups.repository_setup import set_up_repository
from app.backups.settings import BackupSettings
from app.backups.worker import BackupMaintenance
from app.notifications.http.webhook_secrets import seal_secret
from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.ids import new_id
from app.platform.secrets.sealing import SecretSealer, generate_encryption_key
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres, find_postgres_binaries
from app.standalone.unprivileged_accounts import build_run_as_command, find_service_account
from tests.integration.notifications.helpers import add_endpoint, add_organisation


@dataclass
class BackedUpCluster:
    """A cluster, its repository, and what is needed to restore it."""

    postgres: PrivatePostgres
    target: BackupTarget
    key: RecoveryPrivateKey
    settings: VigieSettings

    @property
    def sealer(self) -> SecretSealer:
        return SecretSealer.of(self.settings.encryption)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.postgres.superuser_url)

    async def maintain(self) -> None:
        """Run the job of `maintain` once, under its role."""
        connection = await asyncpg.connect(self.postgres.url, server_settings={"role": "vigie_maintain"})
        try:
            await BackupMaintenance(self.settings, self.settings.backup, self.sealer).run_once(connection)
        finally:
            await connection.close()

    def with_settings(self, **changes: object) -> BackupTarget:
        settings = self.target.settings.model_copy(update=changes)
        return replace(self.target, settings=settings)


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BackedUpCluster]:
    folder = tmp_path_factory.mktemp("backups")
    server = PrivatePostgres(folder / "postgres", durable=False)
    home = server._home.open()
    account = find_service_account("postgres")
    key = RecoveryPrivateKey.generate()
    backup = {
        "recovery_key": str(key.public),
        "path": home / "repository",
        "cipher_pass_file": home / "passphrase",
        "lock_dir": home / "lock",
    }
    server._archive = {
        **list_archive_settings(home / "pgbackrest.conf"),
        "wal_level": "'replica'",
        "max_wal_senders": "4",
    }
    async with server:
        settings = VigieSettings.model_validate(
            {
                "database": {"url": server.url},
                "backup": backup,
                "encryption": {"keys": [generate_encryption_key()]},
            }
        )
        binaries = find_postgres_binaries()
        assert binaries is not None
        target = BackupTarget(
            settings=BackupSettings.model_validate(backup),
            cluster_dir=server.data,
            config_file=home / "pgbackrest.conf",
            scratch_dir=home,
            binaries=binaries,
            host=server.host,
            port=server.port,
            run_as=() if account is None else tuple(build_run_as_command(account, [])),
            owner=None if account is None else (account.uid, account.gid),
            password=server._passwords["postgres"],
        )
        set_up_repository(target)
        await asyncio.to_thread(upgrade, settings.database)
        made = BackedUpCluster(server, target, key, settings)
        connection = await made.connect()
        organisation = await add_organisation(connection)
        endpoint, secret = await add_endpoint(connection, organisation, "http://127.0.0.1:9/")
        sealed = seal_secret(made.sealer, endpoint, secret)
        await connection.execute("UPDATE webhook_endpoints SET secret = $1", sealed)
        await connection.close()
        yield made
        os.kill(server.pid, signal.SIGQUIT)


@pytest.fixture(scope="module")
async def sealed_cluster(cluster: BackedUpCluster) -> BackedUpCluster:
    """The same, after `maintain` has sealed the keys."""
    await cluster.maintain()
    return cluster


@pytest.fixture(scope="module")
async def backed_up(sealed_cluster: BackedUpCluster) -> BackedUpCluster:
    """The same, with a backup."""
    if not await PgBackRest(sealed_cluster.target, print).list_backups():
        await make_backup(sealed_cluster.target, "full", print)
        # A moment of the second in which the backup ended cannot be restored.
        await asyncio.sleep(1.0)
    return sealed_cluster


async def add_named_organisation(connection: asyncpg.Connection, name: str) -> None:
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, $2, now(), now())",
        new_id(),
        name,
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run_dir(cluster: BackedUpCluster) -> Path:
    """A folder that PostgreSQL's account reaches; its path is short enough for a socket."""
    return cluster.target.scratch_dir / "run"
