"""The demo as a process: it sets itself up, its alerts reach its receiver, it stops and starts again."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from simulators import registration
from simulators.cli import SHIPPED_ARCHIVE
from simulators.demo_definitions import BOX_PREFIX, DEMO_SITES, FORMER_NAMES, ORGANISATION
from simulators.demo_state import DemoState
from simulators.replay_verification import compare_with_database
from simulators.rest_client import ApiClient
from simulators.sensor_community import load_archive, move_to_day
from simulators.station_replay import make_box_id, make_box_specs
from simulators.target_stack import TargetStack
from tests.nursery import ForkedProcess
from tests.scenarios.processes import RoleProcess, role, until

LONDON: Final = ZoneInfo("Europe/London")
LISTS = ("organisations", "api-keys", "sites", "boxes", "rules", "webhooks")


@contextlib.asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[ForkedProcess]:
    with (folder / "demo.log").open("ab") as log:
        words = ("simulate", "demo", "--run", str(folder / "run.json"), *options)
        process = await ForkedProcess.start(*words, environment=os.environ, log=log.fileno())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def stop(process: ForkedProcess) -> tuple[int, float]:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(process.wait(), 60)
    return status, time.monotonic() - started


async def things(target: TargetStack) -> dict[str, list[str]]:
    async with ApiClient(target.api, target.key) as api:
        return {name: sorted([str(each["id"]) async for each in api.list(f"/v1/{name}")]) for name in LISTS}


@pytest.mark.timeout(180)
async def test_it_finds_its_things_again_and_creates_nothing_twice(
    target: TargetStack, ingest: RoleProcess, tmp_path: Path
) -> None:
    assert ingest.role == "ingest"
    log = tmp_path / "demo.log"

    async def says(*texts: str) -> bool:
        return all(text in log.read_text() for text in texts)

    async with role("deliver", tmp_path):
        async with demo(tmp_path) as first:
            assert await until(lambda: says("webhook verified", "stored, says vigie/v1/demo-street-1/ack"))
            status, took = await stop(first)
        assert (status, took < 20) == (0, True), log.read_text()
        state = DemoState.load(tmp_path / "demo.json")
        assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600
        assert len(state.boxes) == 29
        assert state.replayed
        made = await things(target)
        assert (len(made["sites"]), len(made["boxes"]), len(made["webhooks"])) == (4, 29, 1)
        log.write_text("")
        async with demo(tmp_path) as second:
            assert await until(lambda: says("synthetic boxes are live", "webhook verified"))
            status, took = await stop(second)
        assert (status, took < 20) == (0, True), log.read_text()
        assert "REFUSED" not in log.read_text()
        assert await things(target) == made
        # Its memory lost, it finds all but the key, which nobody can read again.
        (tmp_path / "demo.json").unlink()
        log.write_text("")
        async with demo(tmp_path) as third:
            assert await until(lambda: says("synthetic boxes are live", "webhook verified"))
            await stop(third)
        found = await things(target)
        assert {name: found[name] for name in LISTS if name != "api-keys"} == {
            name: made[name] for name in LISTS if name != "api-keys"
        }
        assert len(found["api-keys"]) == len(made["api-keys"]) + 1


async def _caught_up(connection: asyncpg.Connection) -> bool:
    """Whether the replay has come to now: half of the stations have measured within five minutes."""
    await asyncio.sleep(1)
    stations = await connection.fetchval(
        "SELECT count(DISTINCT s.box_key) FROM samples s JOIN boxes b ON b.key = s.box_key "
        "WHERE b.id LIKE 'demo-aberdeen-%' AND s.time > now() - interval '5 minutes'"
    )
    return bool(stations >= 10)


@pytest.mark.timeout(240)
async def test_the_recorded_day_is_of_now_and_every_value_is_as_recorded(
    target: TargetStack, ingest: RoleProcess, tmp_path: Path
) -> None:
    assert ingest.role == "ingest"
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    # An earlier version's site had another name, and its boxes had these ids.
    async with ApiClient(target.api, target.key) as api:
        organisation_id = await registration.find_or_create_organisation(api, ORGANISATION)
        spec = replace(DEMO_SITES["aberdeen"], name=FORMER_NAMES["aberdeen"])
        former = await registration.find_or_create_site(api, spec, organisation_id)
        stations, _ = load_archive(SHIPPED_ARCHIVE)
        await registration.register_boxes(
            api, former, organisation_id, make_box_specs(stations, BOX_PREFIX), None
        )
    yesterday = datetime.now(LONDON).date() - timedelta(days=1)
    try:
        async with demo(tmp_path, "--replay-speed", "40000") as process:
            await until(lambda: _caught_up(connection), patience_s=120)
            await stop(process)
        assert DemoState.load(tmp_path / "demo.json").site_ids["aberdeen"] == former
        # The third one where midnight came meanwhile.
        days = [move_to_day(stations, yesterday + timedelta(days=day), LONDON) for day in (0, 1, 2)]
        reached = DemoState.load(tmp_path / "demo.json").replayed
        # What was under way when it stopped is stored, or sent again at the next start.
        stored = await connection.fetch(
            "SELECT id, max(extract(epoch FROM time) * 1e6)::bigint AS newest FROM samples "
            "JOIN boxes ON key = box_key GROUP BY id"
        )
        newest = {row["id"]: row["newest"] for row in stored}
        reached = {box: max(time_us, newest[box]) for box, time_us in reached.items()}
        sent: dict[str, dict[int, dict[str, float]]] = {box: {} for box in reached}
        for day in days:
            for station in day:
                box = make_box_id(BOX_PREFIX, station)
                sent[box] |= {s.time_us: s.values for s in station.samples if s.time_us <= reached[box]}
        compared = await compare_with_database(connection, sent)
        assert compared.clean, compared.shown
        midnight = datetime.combine(yesterday, datetime.min.time(), LONDON)
        of_site = "FROM alerts WHERE site_id = $1"
        assert await connection.fetchval(f"SELECT count(*) {of_site}", UUID(former)) >= 8
        assert await connection.fetchval(f"SELECT min(started_at) {of_site}", UUID(former)) >= midnight
        async with ApiClient(target.api, target.key) as api:
            site = await api.get(f"/v1/sites/{former}")
            firing = [alert async for alert in api.list("/v1/alerts", site=former, state="firing")]
        assert "replay of 2019-03-10" in site["name"]
        # At any time of day: frost at six stations, dust at one, and one alert each for the site as a whole.
        assert len(firing) <= 10, [alert["rule_id"] for alert in firing]
    finally:
        await connection.close()
