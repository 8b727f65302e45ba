from pathlib import Path

import pytest

from app.backups import pgbackrest_client
from app.backups.backup_target import BackupError, BackupTarget
from app.backups.pgbackrest_client import PgBackRest
from app.backups.settings import BackupSettings


@pytest.fixture
def pgbackrest(tmp_path: Path) -> PgBackRest:
    target = BackupTarget(
        settings=BackupSettings(),
        cluster_dir=tmp_path,
        config_file=tmp_path / "conf",
        scratch_dir=tmp_path,
        binaries=tmp_path,
        host="",
        port=5432,
    )
    return PgBackRest(target, lambda _: None)


async def test_the_note_of_a_verification_waits_for_a_backup_that_runs(
    pgbackrest: PgBackRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def run(_: PgBackRest, command: str, *options: str) -> list[str]:
        calls.append(command)
        if len(calls) < 3:
            raise BackupError(f"pgbackrest {command} failed:\n  [050]: unable to acquire lock on file '/x'")
        return [*options]

    monkeypatch.setattr(PgBackRest, "_run", run)
    monkeypatch.setattr(pgbackrest_client, "_LOCK_POLL_S", 0.0)
    await pgbackrest.annotate("20261129-021500F", {"vigie-verified": "now"})
    assert calls == ["annotate"] * 3


async def test_another_failure_is_not_waited_for(
    pgbackrest: PgBackRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(*_: object) -> list[str]:
        raise BackupError("the repository is away")

    monkeypatch.setattr(PgBackRest, "_run", run)
    with pytest.raises(BackupError, match="away"):
        await pgbackrest.annotate("20261129-021500F", {})
