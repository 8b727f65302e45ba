import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
import typer

from app.backups.backup_target import BackupError
from app.processes.backup_cli import run_until_terminated
from app.processes.restore_cli import parse_moment


def test_a_moment_has_a_zone() -> None:
    assert parse_moment("latest") is None
    assert parse_moment("2026-01-02T03:04:05.25+01:00") == datetime(2026, 1, 2, 2, 4, 5, 250_000, UTC)
    for text, said in (
        ("2026-01-02T03:04:05", "has no time zone"),
        ("yesterday", "write a time like"),
        ((datetime.now(UTC) + timedelta(hours=1)).isoformat(), "is in the future"),
    ):
        with pytest.raises(BackupError, match=said):
            parse_moment(text)


def test_sigterm_ends_a_command_after_it_has_removed_its_copies() -> None:
    ended = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(10)
        finally:
            ended.append("removed")

    with pytest.raises(typer.Exit) as caught:
        run_until_terminated(work())
    assert (caught.value.exit_code, ended) == (143, ["removed"])
