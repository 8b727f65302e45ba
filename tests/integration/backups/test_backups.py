"""The real pgBackRest backs up a small cluster, restores it to a moment, and notices one changed byte."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.backups import sealed_value_check
from app.backups.backup_repository import read_archive_state, read_bundles
from app.backups.backup_run import connect_to_cluster, make_backup, seal_files
from app.backups.backup_target import BackupError, BackupTarget, DamagedBackupError, NotDueError
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import build_archive_command
from app.backups.recovery_bundle import RecoveryBundle, open_bundles
from app.backups.recovery_key import RecoveryPrivateKey
from app.backups.repository_setup import set_up_host, set_up_repository
from app.backups.restore import RestoredCluster, RestoreRequest, restore_cluster
from app.backups.scratch_cluster import ScratchCluster
from app.backups.verification import verify_backup
from app.backups.worker import BackupMaintenance
from app.platform.secrets.resealing import SecretResealer
from app.platform.secrets.sealing import SecretSealer, generate_encryption_key
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.doctor import DoctorFinding
from app.standalone.doctor_database import check_recovery_bundle
from tests.integration.backups.conftest import BackedUpCluster, add_named_organisation

BUNDLES = "backup/vigie/{}/bundle/*"


async def names_in(target: BackupTarget, data: Path, folder: Path) -> list[str]:
    async with ScratchCluster(target, data, target.make_folder(folder), durable=True) as scratch:
        connection = await scratch.connect()
        rows = await connection.fetch("SELECT name FROM organisations WHERE name LIKE 'T%' ORDER BY 1")
        await connection.close()
    return [row[0] for row in rows]


async def logged_moments(target: BackupTarget, data: Path, folder: Path) -> list[datetime | None]:
    """The moments of restores in the log of each organisation."""
    async with ScratchCluster(target, data, target.make_folder(folder), durable=True) as scratch:
        connection = await scratch.connect()
        rows = await connection.fetch(
            "SELECT (record::jsonb #>> '{after,requested}')::timestamptz FROM audit_heads "
            "LEFT JOIN audit_log USING (organisation_id, position) ORDER BY organisation_id"
        )
        await connection.close()
    return [row[0] for row in rows]


async def make_standby(cluster: BackedUpCluster, folder: Path) -> BackupTarget:
    """Restore a standby from the newest backup. It follows once it runs, with its socket in `folder`."""
    hba = cluster.postgres._home.open() / "pg_hba.conf"
    if "replication" not in hba.read_text():
        hba.write_text(f"{hba.read_text()}host replication postgres 127.0.0.1/32 scram-sha-256\n")
    connection = await cluster.connect()
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    target = cluster.target
    shutil.rmtree(target.scratch_dir / "standby", ignore_errors=True)
    data = target.make_folder(target.scratch_dir / "standby")
    await PgBackRest(target, print).restore(data, "--type=standby", "--archive-mode=off")
    target.make_folder(folder)
    (folder / "access").write_text("local all all trust\n")
    config = target.scratch_dir / "standby.conf"
    return replace(target, cluster_dir=data, config_file=config, host=str(folder), port=5432)


@asynccontextmanager
async def running_standby(cluster: BackedUpCluster, standby: BackupTarget) -> AsyncIterator[None]:
    """Run a standby."""
    folder = Path(standby.host)
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(*standby.run_as, str(standby.binaries / "postgres"), "-D", str(standby.cluster_dir)),
            *("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "port=5432"),
            *("-c", f"hba_file={folder / 'access'}", "-c", "wal_keep_size=1GB"),
            *("-c", "max_connections=200", "-c", "max_locks_per_transaction=256"),
            *("-c", "shared_preload_libraries=timescaledb", "-c", "max_worker_processes=16"),
            *("-c", f"primary_conninfo={cluster.postgres.superuser_url}"),
            *("-c", "archive_mode=on", "-c", "archive_timeout=60"),
            *("-c", f"archive_command={build_archive_command(standby.config_file)}"),
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(600):
            with suppress(BackupError):
                await (await connect_to_cluster(standby)).close()
                break
            await asyncio.sleep(0.1)
        assert process.returncode is None, (folder / "log").read_text()[-1500:]
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGQUIT)
        await process.wait()


async def test_no_backup_is_made_that_could_not_be_used(
    sealed_cluster: BackedUpCluster, said: list[str]
) -> None:
    with pytest.raises(BackupError, match="no recovery key is set up"):
        await make_backup(sealed_cluster.with_settings(recovery_key=None), None, said.append)
    other = str(RecoveryPrivateKey.generate().public)
    with pytest.raises(BackupError, match=r"not sealed for the recovery key \w{8} yet"):
        await make_backup(sealed_cluster.with_settings(recovery_key=other), None, said.append)


async def test_nothing_is_verified_where_there_is_no_backup(
    cluster: BackedUpCluster, said: list[str]
) -> None:
    home = cluster.target.scratch_dir
    target = replace(cluster.with_settings(path=home / "empty"), config_file=home / "empty.conf")
    set_up_repository(target)
    with pytest.raises(BackupError, match="the repository has no backup: make one"):
        await verify_backup(target, None, said.append, recovery_keys=[], sealer=None)


async def test_the_passphrase_of_backups_is_not_replaced(backed_up: BackedUpCluster) -> None:
    with pytest.raises(BackupError, match="has backups already: put their passphrase into /nonexistent/pass"):
        set_up_repository(backed_up.with_settings(cipher_pass_file=Path("/nonexistent/pass")))


async def test_another_passphrase_is_no_empty_repository(backed_up: BackedUpCluster, said: list[str]) -> None:
    home = backed_up.target.scratch_dir
    (home / "other-pass").write_text("another\n")
    backed_up.target.set_owner(home / "other-pass")
    other = backed_up.with_settings(cipher_pass_file=home / "other-pass")
    with pytest.raises(BackupError, match="other-pass has the passphrase of the repository"):
        await set_up_host(replace(other, config_file=home / "other.conf"), said.append)


async def test_a_restored_cluster_without_the_database_is_an_error(
    cluster: BackedUpCluster, run_dir: Path
) -> None:
    target = cluster.target
    data = target.make_folder(target.scratch_dir / "empty-cluster")
    initdb = (*target.run_as, str(target.binaries / "initdb"), "-D", str(data), "-U", "postgres", "--no-sync")
    process = await asyncio.create_subprocess_exec(*initdb, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    async with asyncio.timeout(60):
        with pytest.raises(
            BackupError, match=r'"vigie\w*" does not exist. Check VIGIE_BACKUP__DATABASE'
        ) as caught:
            async with ScratchCluster(target, data, target.make_folder(run_dir), durable=False):
                pass
    assert not isinstance(caught.value, DamagedBackupError)


async def test_only_the_primary_makes_and_seals_backups(
    backed_up: BackedUpCluster, said: list[str], run_dir: Path
) -> None:
    first = await set_up_host(backed_up.target, said.append)
    assert first == [f"{backed_up.target.settings.path}: readable; number of backups: 1"]
    before = await PgBackRest(backed_up.target, said.append).list_backups()
    with pytest.raises(NotDueError, match=f"{before[-1].label} began less than six hours ago"):
        await make_backup(backed_up.target, None, said.append, scheduled=True)
    standby = await make_standby(backed_up, run_dir)
    async with running_standby(backed_up, standby):
        for scheduled in (True, False):
            with pytest.raises(NotDueError, match="is a standby: the primary's host makes"):
                await make_backup(standby, "full", said.append, scheduled=scheduled)
        with pytest.raises(NotDueError, match="is a standby"):
            await verify_backup(standby, None, said.append, recovery_keys=[], sealer=backed_up.sealer)
        lines = await set_up_host(standby, said.append)
        assert [line.partition(":")[0] for line in lines] == [
            str(standby.config_file),
            str(standby.settings.path),
            "PostgreSQL on this host is a standby",
        ]
        assert await set_up_host(standby, said.append) == lines[1:]
        missing = replace(standby, settings=backed_up.with_settings(cipher_pass_file=Path("/x")).settings)
        with pytest.raises(BackupError, match=r"is a standby.+ Copy /x from there to this host"):
            await set_up_host(missing, said.append)
    assert await PgBackRest(backed_up.target, said.append).list_backups() == before


async def test_the_bundle_follows_the_keys_and_names_what_it_lacks(sealed_cluster: BackedUpCluster) -> None:
    connection = await sealed_cluster.connect()
    bundle = (await read_bundles(connection)).get("keys")
    assert bundle is not None
    assert list(bundle.key_names) == sealed_cluster.sealer.names
    assert RecoveryBundle.open(bundle.content, sealed_cluster.key).encryption_keys == list(
        sealed_cluster.settings.encryption.key_bytes()
    )
    sealed_cluster.settings.backup.maintain_include = [Path("/nonexistent/vigie")]
    await sealed_cluster.maintain()
    bundle = (await read_bundles(connection)).get("keys")
    sealed_cluster.settings.backup.maintain_include = []
    await sealed_cluster.maintain()
    await connection.close()
    assert bundle is not None
    assert list(bundle.unreadable) == ["/nonexistent/vigie: No such file or directory"]


async def test_a_bundle_stays_while_maintain_lacks_a_key_that_secrets_need(
    sealed_cluster: BackedUpCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sealed_cluster.settings
    former, new = settings.encryption.keys[0], SecretStr(generate_encryption_key())
    connection = await sealed_cluster.connect()

    def set_keys(*keys: SecretStr) -> list[str]:
        monkeypatch.setattr(settings.encryption, "keys", list(keys))
        monkeypatch.setenv("VIGIE_ENCRYPTION__KEYS", json.dumps([key.get_secret_value() for key in keys]))
        return sealed_cluster.sealer.names

    async def maintain() -> tuple[list[str], float | None, list[DoctorFinding]]:
        """Returns the keys of the bundle, the metric and the doctor's findings."""
        await sealed_cluster.maintain()
        lost = REGISTRY.get_sample_value("vigie_recovery_bundle_keys_lost")
        findings = await asyncio.to_thread(lambda: list(check_recovery_bundle()))
        return list((await read_bundles(connection))["keys"].key_names), lost, findings

    monkeypatch.setenv("VIGIE_DATABASE__URL", settings.database.url)
    monkeypatch.setenv("VIGIE_BACKUP__RECOVERY_KEY", str(sealed_cluster.key.public))
    monkeypatch.setenv("VIGIE_BACKUP__CIPHER_PASS_FILE", str(settings.backup.cipher_pass_file))
    try:
        (name,) = set_keys(former)
        before = (await read_bundles(connection))["keys"]
        set_keys(new)
        with capture_logs() as logs:
            lacking = BackupMaintenance(settings, settings.backup, sealed_cluster.sealer)
            for _ in range(2):
                await lacking.run_once(connection)
        assert (await read_bundles(connection))["keys"] == before
        warned = [each for each in logs if each["event"] == "recovery_bundle_not_replaced"]
        assert [(each["log_level"], each["lost_keys"]) for each in warned] == [("warning", [name])]
        _, lost, (finding,) = await maintain()
        assert (lost, finding.state, finding.subject) == (1, "missing", "recovery bundle")
        assert name in finding.detail

        both = set_keys(new, former)
        kept, lost, (finding,) = await maintain()
        assert (kept, lost, finding.state) == (both, 0, "ok")
        # A key that no secret needs may go: `vigie secrets forget` removes such keys.
        await SecretResealer(sealed_cluster.sealer).reseal_due(connection)
        only = set_keys(new)
        kept, lost, _ = await maintain()
        assert (kept, lost) == (only, 0)
    finally:
        set_keys(former, new)
        await SecretResealer(sealed_cluster.sealer).reseal_due(connection)
        set_keys(former)
        await sealed_cluster.maintain()
        await connection.close()


async def test_files_are_sealed_by_whoever_may_read_them(
    sealed_cluster: BackedUpCluster, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "roles.env"
    secret.write_text("PASSWORD=1\n")
    connection = await sealed_cluster.connect()
    target = sealed_cluster.with_settings(include=[secret])
    missing = sealed_cluster.with_settings(include=[tmp_path / "none"])
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(
        BackupError, match=r"none: No such file or directory. Run `vigie backup seal` as an account"
    ):
        await seal_files(missing, connection, said.append)
    await seal_files(target, connection, said.append)
    # Nothing better can be read now: what was sealed before stays.
    await seal_files(missing, connection, said.append)
    opened = open_bundles(await read_bundles(connection), [sealed_cluster.key], said.append)
    await connection.close()
    assert opened.files == {str(secret): b"PASSWORD=1\n"}
    assert len(opened.encryption_keys) == 1


async def test_parts_that_are_sealed_before_and_after_the_key_was_replaced_open_with_both_keys(
    sealed_cluster: BackedUpCluster, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, new = sealed_cluster.key, RecoveryPrivateKey.generate()
    secret = tmp_path / "roles.env"
    secret.write_text("PASSWORD=1\n")
    connection = await sealed_cluster.connect()
    await seal_files(sealed_cluster.with_settings(include=[secret]), connection, said.append)
    # As after the new public part was set, and `maintain` was restarted.
    monkeypatch.setattr(sealed_cluster.settings.backup, "recovery_key", str(new.public))
    await sealed_cluster.maintain()
    try:
        parts = await read_bundles(connection)
        assert (parts["keys"].recipient, parts["files"].recipient) == (new.public.name, former.public.name)
        opened = open_bundles(parts, [new], said.append)
        assert (len(opened.encryption_keys), opened.files, len(said)) == (1, {}, 1)
        opened = open_bundles(parts, [former, new], said.append)
        assert (len(opened.encryption_keys), list(opened.files), len(said)) == (1, [str(secret)], 1)

        without_files = sealed_cluster.with_settings(include=[], recovery_key=str(new.public))
        await connection.execute("SET default_transaction_read_only = on")
        await seal_files(without_files, connection, said.append)
        assert said[-1].startswith("warning: files that were sealed before stay in the backup")
        await connection.execute("SET default_transaction_read_only = off")
        await seal_files(without_files, connection, said.append)
        assert "the files that were sealed before are deleted" in said[-1]
        assert list(await read_bundles(connection)) == ["keys"]
    finally:
        monkeypatch.undo()
        await sealed_cluster.maintain()
        await connection.close()


async def test_a_backup_under_writes_is_equal_to_its_restore(
    sealed_cluster: BackedUpCluster, said: list[str]
) -> None:
    stop = asyncio.Event()

    async def write() -> int:
        connection = await sealed_cluster.connect()
        written = 0
        while not stop.is_set():
            await connection.execute(
                "INSERT INTO heartbeats VALUES ('load', $1, '', now()) ON CONFLICT DO NOTHING", str(written)
            )
            await connection.execute("UPDATE heartbeats SET state = $1 WHERE role = 'load'", str(written))
            written += 1
        await connection.close()
        return written

    writing = asyncio.create_task(write())
    done = await make_backup(sealed_cluster.target, None, said.append)
    stop.set()
    assert await writing > 50
    assert done.entry.kind in {"full", "diff"}  # `choose_kind` has the rule
    assert 0 < done.entry.tables["heartbeats"][0] < await writing
    assert done.paused_s < 20

    found = await verify_backup(
        sealed_cluster.target, None, said.append, recovery_keys=[sealed_cluster.key], sealer=None
    )
    assert (found.label, found.opened_with) == (done.entry.label, "the backed-up keys")
    assert found.sealed_values == 1
    assert found.audit_entries > 0
    entry = (await PgBackRest(sealed_cluster.target, said.append).list_backups())[-1]
    assert entry.verified_at is not None
    assert list(sealed_cluster.target.scratch_dir.glob("vigie-verify-*")) == []

    await sealed_cluster.maintain()
    finished = entry.finished_at.timestamp()
    assert REGISTRY.get_sample_value("vigie_backup_newest_timestamp_seconds") == finished
    assert REGISTRY.get_sample_value("vigie_backup_verified_timestamp_seconds") == finished
    assert REGISTRY.get_sample_value("vigie_backup_configured") == 1


async def test_a_restore_to_a_moment_has_all_before_it_and_nothing_after(
    backed_up: BackedUpCluster, said: list[str], run_dir: Path
) -> None:
    connection = await backed_up.connect()
    await add_named_organisation(connection, "T before")
    moment = datetime.now(UTC)
    await add_named_organisation(connection, "T later")
    # Without checksums, which a restore does not need.
    unchecked = await make_backup(backed_up.with_settings(checksums="full"), "incr", said.append)
    assert (unchecked.entry.restore_point, unchecked.paused_s) == (None, 0.0)
    with pytest.raises(BackupError, match="has no checksums, so nothing can be compared"):
        await verify_backup(
            backed_up.target, unchecked.entry.label, said.append, recovery_keys=[], sealer=None
        )
    await PgBackRest(backed_up.target, said.append).check()
    data = backed_up.target.scratch_dir / "restored"

    async def restore(*, overwrite: bool = False, take_over: bool = False) -> RestoredCluster:
        request = RestoreRequest(moment, data, run_dir, overwrite=overwrite, take_over=take_over)
        return await restore_cluster(backed_up.target, request, said.append)

    done = await restore()
    assert done.last_commit is not None
    assert done.last_commit <= moment
    assert open_bundles(done.bundles, [backed_up.key], said.append).encryption_keys
    assert await names_in(backed_up.target, data, run_dir) == ["T before", "Tests"]
    settings = (data / "postgresql.auto.conf").read_text()
    assert "archive_mode = 'off'" in settings
    # A standby that is copied from it would end its recovery at the same moment.
    assert not [name for name in ("restore_command", "recovery_target") if name in settings]
    with pytest.raises(BackupError, match="is not empty"):
        await restore()
    other = run_dir.parent / "no-cluster"
    (other / "letters").mkdir(parents=True)
    before = other.stat()
    request = RestoreRequest(moment, other, run_dir, overwrite=True)
    with pytest.raises(BackupError, match="has no cluster"):
        await restore_cluster(backed_up.target, request, said.append)
    assert (other.stat().st_uid, other.stat().st_mode) == (before.st_uid, before.st_mode)
    (data / "postmaster.pid").write_text(f"{backed_up.postgres.pid}\n")
    with pytest.raises(BackupError, match="a PostgreSQL runs on"):
        await restore(overwrite=True)
    (data / "postmaster.pid").unlink()
    await restore(overwrite=True, take_over=True)
    assert await names_in(backed_up.target, data, run_dir) == ["T before", "Tests"]
    logged = await logged_moments(backed_up.target, data, run_dir)
    assert len(logged) > 1
    assert set(logged) == {moment}
    assert (data / "pg_wal" / "archive_status" / "00000002.history.ready").exists()
    first = (await PgBackRest(backed_up.target, said.append).list_backups())[0].finished_at
    for early in (datetime(2026, 1, 1, tzinfo=UTC), first + timedelta(seconds=0.9)):
        request = RestoreRequest(early, data / "x", run_dir)
        with pytest.raises(BackupError, match="the oldest backup ended at"):
            await restore_cluster(backed_up.target, request, said.append)
    await connection.close()


async def test_a_moment_after_the_end_of_the_archive_is_no_damage(
    backed_up: BackedUpCluster, said: list[str], run_dir: Path
) -> None:
    await PgBackRest(backed_up.target, said.append).check()
    data = backed_up.target.scratch_dir / "too-late"
    request = RestoreRequest(datetime.now(UTC), data, run_dir)
    with pytest.raises(
        BackupError, match=r"its last transaction is of 20.+ `--to latest` restores all"
    ) as caught:
        await restore_cluster(backed_up.target, request, said.append)
    assert not isinstance(caught.value, DamagedBackupError)
    assert not data.exists()


async def test_the_command_restores_a_copy_and_leaves_the_archive_of_the_original_alone(
    backed_up: BackedUpCluster, tmp_path: Path
) -> None:
    target = backed_up.target
    key = tmp_path / "key"
    key.write_text(backed_up.key.reveal())
    former_key = tmp_path / "former-key"
    former_key.write_text(RecoveryPrivateKey.generate().reveal())
    config = target.config_file.read_text()
    copy = target.scratch_dir / "copy"
    settings = {
        "RECOVERY_KEY": str(backed_up.key.public),
        "PATH": str(target.settings.path),
        "CIPHER_PASS_FILE": str(target.settings.cipher_pass_file),
        "CONFIG_FILE": str(target.config_file),
        "LOCK_DIR": str(target.settings.lock_dir),
        "CLUSTER_DIR": str(target.cluster_dir),
        "SCRATCH_DIR": str(target.scratch_dir),
    }
    environment = {f"VIGIE_BACKUP__{name}": value for name, value in settings.items()}

    async def vigie(*words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app", *words),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        return process.returncode or 0, out.decode(), error.decode()

    out = tmp_path / "bundle"
    status, printed, error = await vigie(
        *("restore", "--to", "latest", "--cluster-dir", str(copy)),
        *("--recovery-key", str(former_key), "--recovery-key", str(key), "--bundle-dir", str(out)),
    )
    assert status == 0, error
    assert f"Restored to {copy}." in printed
    assert "It is a copy: it does not archive" in printed
    assert (out / "encryption-keys").read_text().split()
    assert target.config_file.read_text() == config
    status, _, error = await vigie(
        *("restore", "--to", "latest", "--cluster-dir", str(target.scratch_dir / "unused")),
        *("--recovery-key", str(key), "--bundle-dir", str(out)),
    )
    assert (status, "exists: name a new folder" in error) == (2, True)
    assert not (target.scratch_dir / "unused").exists()
    key.write_text(RecoveryPrivateKey.generate().reveal())
    second = target.scratch_dir / "second"
    status, printed, error = await vigie(
        *("restore", "--to", "latest", "--cluster-dir", str(second), "--recovery-key", str(key))
    )
    assert (status, f"Restored to {second}." in printed) == (2, True)
    assert f"sealed for the recovery key {backed_up.key.public.name}" in error
    assert "The restored cluster stays" in error
    status, _, error = await vigie("restore", "--to", "latest", "--cluster-dir", str(copy))
    assert status == 2
    assert "is not empty: choose a new folder" in error
    status, _, error = await vigie("restore", "--to", "yesterday", "--cluster-dir", str(copy))
    assert (status, error.splitlines()[-1]) == (
        2,
        "vigie restore: --to yesterday: write a time like 2026-11-29T18:00:00Z, or latest",
    )


async def test_maintain_opens_the_secrets_where_postgres_must_not(
    backed_up: BackedUpCluster, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def maintaining() -> None:
        while True:
            await backed_up.maintain()
            await asyncio.sleep(0.1)

    background = asyncio.create_task(maintaining())
    found = await verify_backup(backed_up.target, None, said.append, recovery_keys=[], sealer=None)
    assert found.opened_with == "the keys of `maintain`"
    background.cancel()
    await asyncio.wait({background})
    connection = await backed_up.connect()
    monkeypatch.setattr(sealed_value_check, "_WAIT_S", 0.5)
    values = [{"column": "webhook_endpoints.secret", "key": ["x"], "stored": "sealed:1:00:x"}]
    with pytest.raises(BackupError, match="`vigie maintain` did not open"):
        await sealed_value_check.request_value_check(connection, values)
    await connection.close()
    (failure,) = sealed_value_check.open_sealed_values(values, backed_up.sealer)
    assert failure.startswith(
        "webhook_endpoints.secret of x: it is sealed with the key 00, which is not among"
    )


async def test_a_database_that_cannot_be_written_is_backed_up(
    backed_up: BackedUpCluster, said: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "settings.env"
    file.write_text("A=1\n")
    target = backed_up.with_settings(include=[file])
    connection = await backed_up.connect()
    await seal_files(target, connection, said.append)
    database = target.settings.database
    await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        done = await make_backup(target, "incr", said.append)
    finally:
        await connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await connection.close()
    assert done.entry.restore_point is not None
    assert any("the files are as they were sealed on" in line for line in said)
    assert any("the backup is complete, but the metrics" in line for line in said)


async def test_a_verification_with_another_recovery_key_is_no_damage(
    backed_up: BackedUpCluster, said: list[str]
) -> None:
    other = RecoveryPrivateKey.generate()
    needed = f"give the private part of {backed_up.key.public.name} with --recovery-key"
    with pytest.raises(BackupError, match=needed) as caught:
        await verify_backup(backed_up.target, None, said.append, recovery_keys=[other], sealer=None)
    assert not isinstance(caught.value, DamagedBackupError)


async def test_a_secret_whose_key_was_replaced_after_the_backup_is_no_damage(
    backed_up: BackedUpCluster, said: list[str]
) -> None:
    with pytest.raises(
        BackupError, match=r"no longer on this machine: verify it with --recovery-key"
    ) as caught:
        await verify_backup(
            backed_up.target, None, said.append, recovery_keys=[], sealer=SecretSealer([b"x" * 32])
        )
    assert not isinstance(caught.value, DamagedBackupError)
    assert "webhook_endpoints.secret of " in str(caught.value)


async def test_one_changed_byte_is_found_and_its_file_is_named(
    backed_up: BackedUpCluster, said: list[str]
) -> None:
    full = (await PgBackRest(backed_up.target, said.append).list_backups())[0].label
    file = max(
        backed_up.target.settings.path.glob(BUNDLES.format(full)), key=lambda each: each.stat().st_size
    )
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)
    with pytest.raises(DamagedBackupError, match="the backup is damaged") as caught:
        await verify_backup(backed_up.target, full, said.append, recovery_keys=[], sealer=backed_up.sealer)
    file.write_bytes(whole)
    assert f"invalid checksum '{full}/bundle/{file.name}'" in str(caught.value)


async def test_archiving_that_fails_shows(cluster: BackedUpCluster) -> None:
    connection = await cluster.connect()
    state = await read_archive_state(connection)
    assert not state.is_failing
    assert 0 <= state.lag_bytes < 2 * 16 * 2**20
    await connection.execute("ALTER SYSTEM SET archive_command = '/bin/true'")
    await connection.execute("SELECT pg_reload_conf()")

    async def is_failing() -> bool:
        return (await read_archive_state(connection)).is_failing

    # PostgreSQL counts it as archived.
    await until(is_failing)
    await connection.execute("ALTER SYSTEM SET archive_command = 'false --stanza=vigie archive-push'")
    await connection.execute("SELECT pg_reload_conf()")

    async def has_failed() -> bool:
        # The archiver may still have the former command for the first segment.
        await connection.execute("SELECT pg_create_restore_point('x'), pg_switch_wal()")
        return (await read_archive_state(connection)).failures > 0

    await until(has_failed)
    assert await is_failing()
    await connection.execute("ALTER SYSTEM RESET archive_command")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


def archived(target: BackupTarget) -> set[str]:
    """The segments and histories in the archive."""
    found = (target.settings.path / "archive").rglob("0*")
    return {path.name.partition("-")[0] for path in found if path.is_file()}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(600):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not within a minute")


async def promote(standby: BackupTarget) -> asyncpg.Connection:
    connection = await connect_to_cluster(standby)
    assert await connection.fetchval("SELECT pg_promote()")
    return connection


async def call_back(standby: BackupTarget, event: str, role: str) -> str:
    """Run the script of Patroni's callbacks as Patroni does, and return its output."""
    script = standby.scratch_dir / "archive-missing-wal.sh"
    script.write_text(render_deploy_file("ha/archive-missing-wal.sh"))
    process = await asyncio.create_subprocess_exec(
        *(*standby.run_as, "sh", str(script), str(standby.cluster_dir), str(standby.config_file)),
        *(event, role, "vigie"),
        env={"PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


# The last test: it ends the timeline of the cluster.
async def test_a_promoted_standby_archives_what_lost_primaries_did_not(
    backed_up: BackedUpCluster, said: list[str], run_dir: Path
) -> None:
    (archiver,) = [
        each
        for each in psutil.Process(backed_up.postgres.pid).children()
        if "archiver" in " ".join(each.cmdline())
    ]
    standby = await make_standby(backed_up, run_dir)
    async with running_standby(backed_up, standby):
        await set_up_host(standby, said.append)
        connection = await backed_up.connect()
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is False
        archiver.suspend()
        lost = []
        for name in ("T lost 1", "T lost 2"):
            await add_named_organisation(connection, name)
            lost.append(await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())"))
        await add_named_organisation(connection, "T last")
        newest = await connection.fetchval("SELECT pg_current_wal_lsn()")
        replica = await connect_to_cluster(standby)

        async def has_replayed() -> bool:
            replayed: bool = await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", newest)
            return replayed

        await until(has_replayed)
        await replica.close()
        await connection.close()
        assert not archived(standby) & {*lost}
        assert await call_back(standby, "on_role_change", "replica") == ""
        # This primary is lost, too, before the script has run; its own WAL is archived.
        replica = await promote(standby)
        await add_named_organisation(replica, "T between")
        own = await replica.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
        history = f"{own[:8]}.history"

        async def is_own_archived() -> bool:
            return {own, history} <= archived(standby)

        await until(is_own_archived)
        await replica.close()
    (standby.settings.path / f"archive/vigie/17-1/{history}").unlink()
    (standby.cluster_dir / "standby.signal").touch()
    async with running_standby(backed_up, standby):
        replica = await promote(standby)
        output = await call_back(standby, "on_start", "primary")
        assert output == "".join(f"to be archived: {name}\n" for name in (*lost, history))

        async def is_archived() -> bool:
            return {*lost, history} <= archived(standby)

        # Else the archiver looks for files after a minute.
        await replica.execute("SELECT pg_switch_wal()")
        await until(is_archived)
        await replica.close()
        assert await call_back(standby, "on_restart", "primary") == ""
    # The lost primary comes back, and archives the same segments: that is no error.
    archiver.resume()
    connection = await backed_up.connect()

    async def has_archived() -> bool:
        newest = str(await connection.fetchval("SELECT last_archived_wal FROM pg_stat_archiver"))
        return newest >= str(lost[-1])

    await until(has_archived)
    assert not (await read_archive_state(connection)).is_failing
    await connection.close()
