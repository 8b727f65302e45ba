"""Real measurements through the whole stack, compared value by value."""

import asyncio
from dataclasses import replace
from datetime import date

import asyncpg
import pytest

from simulators.cli import SHIPPED_ARCHIVE
from simulators.replay_command import ReplayOptions, run_replay
from simulators.sensor_community import parse_archive_time
from simulators.station_replay import ReplayPace
from simulators.target_stack import TargetStack
from tests.scenarios.processes import RoleProcess

MORNING = ReplayOptions(
    data=SHIPPED_ARCHIVE,
    pace=ReplayPace(batch=20),
    since_us=parse_archive_time("2019-03-10T06:00:00"),
    until_us=parse_archive_time("2019-03-10T12:00:00"),
    repeat=1,
    shift_to_now=False,
    day=None,
    verify=True,
    patience_s=60.0,
    prefix="aberdeen",
    organisation="Sensor.Community",
    site="Aberdeen",
)


async def rows(target: TargetStack) -> int:
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM samples"))
    finally:
        await connection.close()


async def test_every_value_arrives_once_also_when_it_is_sent_again_after_the_passwords_were_lost(
    target: TargetStack, ingest: RoleProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run_replay(target, MORNING) == 0
    stored = await rows(target)
    assert stored > 3_000
    kept = target.folder / "simulator-passwords.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.unlink()
    # Every box is found again, and nothing is stored twice.
    assert await run_replay(target, replace(MORNING, pace=ReplayPace(batch=1), repeat=2)) == 0
    assert await rows(target) == stored
    printed = capsys.readouterr().out
    assert "created now: 19" in printed
    assert "created now: 0" in printed
    assert f"stored rows: {stored}" in printed
    assert ingest.role == "ingest"


async def test_a_killed_consumer_loses_nothing(target: TargetStack, ingest: RoleProcess) -> None:
    replaying = asyncio.create_task(
        run_replay(target, replace(MORNING, pace=ReplayPace(speed=5_400, batch=1)))
    )
    await asyncio.sleep(1.5)
    await ingest.kill()
    await asyncio.sleep(0.3)
    await ingest.start()
    assert await replaying == 0


async def test_a_changed_and_an_invented_value_are_noticed_and_a_shift_is_accounted_for(
    target: TargetStack, ingest: RoleProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest.role == "ingest"
    hour = replace(MORNING, until_us=parse_archive_time("2019-03-10T07:00:00"))
    assert await run_replay(target, hour) == 0
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    victims = await connection.fetch("SELECT box_key, time FROM samples WHERE pm10 IS NOT NULL LIMIT 3")
    await connection.execute(
        "UPDATE samples SET pm10 = pm10 + 0.01 WHERE (box_key, time) = ($1, $2)", *victims[0]
    )
    await connection.execute("UPDATE samples SET co2 = 400 WHERE (box_key, time) = ($1, $2)", *victims[1])
    await connection.execute("DELETE FROM samples WHERE (box_key, time) = ($1, $2)", *victims[2])
    stored = await rows(target)
    capsys.readouterr()
    # What is stored keeps its first values; what was deleted comes back.
    assert await run_replay(target, hour) == 1
    printed = capsys.readouterr().out
    assert "different: 1\n" in printed
    assert "extra: 1\n" in printed
    assert "NOT VERIFIED" in printed
    assert await rows(target) == stored + 1
    # Moved to now it is another day's, and whole.
    assert await run_replay(target, replace(hour, shift_to_now=True)) == 0
    age = await connection.fetchval("SELECT extract(epoch FROM now() - max(time))::float8 FROM samples")
    assert 0 <= age < 60
    # Moved to another day it keeps its time of day, and is compared there.
    capsys.readouterr()
    assert await run_replay(target, replace(hour, day=date(2026, 7, 1))) == 0
    assert "verified: every value is equal" in capsys.readouterr().out
    moved = "SELECT count(*) FROM samples WHERE time >= '2026-07-01T05:00Z' AND time < '2026-07-01T06:00Z'"
    assert await connection.fetchval(moved) == stored + 1
    await connection.close()
