"""What is too old goes, whole days of the site's at a time, and nothing else does."""

import csv
import io
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Self

import asyncpg
import httpx
import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.timeseries.retention import preview as preview_module
from app.timeseries.retention import worker as worker_module
from app.timeseries.retention.worker import RetentionWorker
from app.timeseries.rollups import rollup_queries
from app.timeseries.rollups.backfill import sync_time_zones
from app.timeseries.rollups.hourly_means import HourlyMeansQuery, read_hourly_means
from tests import shifted_clock
from tests.integration.timeseries.retention.archive import (
    BOX,
    EVERY,
    NOW,
    OTHER,
    PARIS,
    Archive,
    midnight,
)


async def test_the_preview_says_what_then_goes_and_no_half_day_does(archive: Archive) -> None:
    # As chunks are not dropped that have others' samples, all that goes is counted.
    await archive.elsewhere(*(NOW - timedelta(days=7 * weeks) for weeks in range(1, 7)))
    await archive.fill(40)
    await archive.recognise(BOX, NOW - timedelta(days=20), NOW - timedelta(days=2))
    # The first and the last moment of days of Paris.
    edge = midnight(10)
    await archive.send(
        OTHER,
        (edge - timedelta(microseconds=1), {"laeq": 50.0}),
        (edge, {"laeq": 50.0}),
        (edge, {"laeq": 50.0}),
    )
    await archive.roll_up()
    wanted = {
        "default_days": 30,
        "purposes": {"noise": 9, "acoustic_safety": 7, "odour": None},
        "summaries_days": 35,
        "removes": True,
    }
    # Something is kept for ever, though nothing of it was measured: summaries may not go before it.
    refused = await archive.tenant.client.put(f"/v1/sites/{archive.site}/retention", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (422, "summaries_before_samples")
    wanted["purposes"] = {"noise": 9, "acoustic_safety": 7}
    told = await archive.preview(**wanted)
    assert told["complete"]
    before = await archive.holds()
    days = timedelta(days=1) // EVERY
    assert told["samples"] >= 9 * days
    assert (told["events"], await archive.count("events")) == (1, 2)

    await archive.set(**wanted)
    await archive.clean()
    after = await archive.holds()
    assert {what: before[what] - after[what] for what in before} == {what: told[what] for what in before}
    assert told["hourly"] > 0 < told["daily"]
    by_purpose = {each["purpose"]: each for each in told["purposes"]}
    assert by_purpose["noise"]["before"] == midnight(9).isoformat().replace("+00:00", "Z")
    assert (by_purpose["noise"]["events"], by_purpose["acoustic_safety"]["events"]) == (0, 1)
    # Whole days: what is left begins at midnights of Paris.
    noisy = await archive.times("laeq IS NOT NULL")
    assert midnight(9) <= noisy[0] < midnight(9) + EVERY
    dusty = await archive.times("pm2_5 IS NOT NULL")
    assert midnight(30) <= dusty[0] < midnight(30) + EVERY
    assert await archive.times("num_nonnulls(pm2_5, laeq, odour) = 0") == []
    # Once more there is nothing to do, and it says so.
    shown = (await archive.tenant.client.get(f"/v1/sites/{archive.site}/retention")).json()["removal"]
    assert (shown["boxes"], shown["boxes_done"]) == (2, 2)
    assert shown["removed"] == {what: told[what] for what in before}
    assert (await archive.preview(**wanted))["values"] == 0


async def test_settings_alone_remove_nothing(archive: Archive) -> None:
    await archive.fill(20)
    before = await archive.holds()
    await archive.set(default_days=5, purposes={"noise": 2})
    await archive.clean()
    assert await archive.holds() == before


async def test_a_clock_that_is_ahead_removes_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the clocks of the process and the database, the earlier one counts."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=730)

    await archive.fill(40)
    await archive.set(default_days=45, removes=True)
    monkeypatch.setattr(worker_module, "datetime", Clock)
    before = await archive.holds()
    await archive.clean()
    assert await archive.holds() == before


async def test_summaries_outlive_samples_and_a_new_time_zone(archive: Archive) -> None:
    await archive.fill(12)
    query = "SELECT sum(count) FROM daily WHERE metric = 'laeq'"
    before = await archive.owner.fetchval(query)
    await archive.set(purposes={"noise": 3}, removes=True)
    await archive.clean()
    assert await archive.count("samples", "laeq IS NOT NULL") == (NOW - midnight(3)) // EVERY
    assert await archive.owner.fetchval(query) == before
    assert await archive.count("samples") == 12 * 4
    # Days are made anew in another zone, as far as the samples reach: those of noise reach less far.
    body = {"timezone": "Europe/London"}
    answer = await archive.tenant.client.patch(f"/v1/sites/{archive.site}", json=body)
    answer.raise_for_status()
    await sync_time_zones(archive.maintainer.connection)
    days = {"metric": "laeq", "bucket": "1d", "from": midnight(12).isoformat(), "to": NOW.isoformat()}
    shown = []
    for _ in range(2):
        answer = await archive.tenant.client.get(f"/v1/boxes/{BOX}/readings", params=days)
        shown.append(answer.raise_for_status().json()["points"])
        await archive.maintainer.turn()
        await archive.roll_up()
    assert len(shown[0]) > 10
    assert shown[0] == shown[1]
    first = await archive.owner.fetchval("SELECT min(day) FROM daily WHERE metric = 'laeq'")
    assert first < NOW - timedelta(days=11)


async def test_exports_have_metrics_of_which_only_summaries_are_left(archive: Archive) -> None:
    old = midnight(20)
    await archive.send(BOX, *((old + EVERY * n, {"laeq": 50.0, "pm2_5": 5.0}) for n in range(8)))
    await archive.send(BOX, (NOW, {"pm2_5": 6.0}))
    await archive.roll_up()
    await archive.door.pipeline.write_back(archive.door.connection)
    client = archive.tenant.client
    span = {"from": old.isoformat(), "to": midnight(0).isoformat(), "format": "csv"}

    async def export(**more: str) -> list[list[str]]:
        answer = await client.get("/v1/readings/export", params={**span, **more})
        return list(csv.reader(io.StringIO(answer.raise_for_status().text)))

    buckets = [{"bucket": "1h", "aggregates": "avg"}, {"bucket": "1d", "aggregates": "avg,p95"}]
    before = [await export(**each) for each in buckets]
    assert [head[3:] for head, *_ in before] == [
        ["pm2_5_avg", "laeq_avg"],
        ["pm2_5_avg", "pm2_5_p95", "laeq_avg", "laeq_p95"],
    ]
    await archive.set(purposes={"noise": 3}, removes=True)
    await archive.clean()
    assert (await client.get(f"/v1/boxes/{BOX}/latest")).json()["values"].keys() == {"pm2_5"}
    assert [await export(**each) for each in buckets] == before
    # Of these, there are no summaries: quarters of an hour, samples, and what was measured since.
    assert (await export(bucket="15m", aggregates="avg"))[0][3:] == ["pm2_5_avg"]
    assert (await export())[0][3:] == ["pm2_5"]
    later = {"from": midnight(2).isoformat(), "bucket": "1h", "aggregates": "avg"}
    assert (await export(**later))[0][3:] == ["pm2_5_avg"]


async def test_summaries_without_samples_are_read_while_their_time_is_stale(
    archive: Archive, api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.fill(12)
    busy = midnight(8) + timedelta(hours=3, minutes=10)
    later = [busy + timedelta(minutes=minutes) for minutes in range(30)]
    await archive.send(BOX, *((time, {"laeq": 60.0, "pm2_5": 5.0}) for time in later[:-1]))
    await archive.roll_up()
    await archive.set(purposes={"noise": 3}, removes=True)
    span = midnight(11), midnight(1)
    key = await archive.owner.fetchval("SELECT key FROM boxes WHERE id = $1", BOX)
    first_us, last_us = (from_datetime(edge) for edge in span)
    hours = HourlyMeansQuery(key, METRICS_BY_NAME["laeq"], first_us, last_us, 21_600)

    async def read() -> list[object]:
        query = {"metric": "laeq", "from": span[0].isoformat(), "to": span[1].isoformat()}
        found: list[object] = []
        for more in ({"bucket": "1h"}, {"bucket": "1d", "aggregates": "max,p95"}, {"bucket": "6h"}):
            answer = await archive.tenant.client.get(f"/v1/boxes/{BOX}/readings", params=query | more)
            found += answer.raise_for_status().json()["points"]
        async with database.read() as session:
            (means,) = await read_hourly_means(session, [hours], highs=True)
        assert means.highs is not None
        columns = (means.times, means.counts, means.means, means.lows, means.highs)
        return found + [column.tolist() for column in columns]

    before = await read()
    await archive.clean()
    assert await archive.count("samples", "laeq IS NOT NULL AND time < $1", midnight(3)) == 0
    assert await read() == before
    # One sample more of an hour of which 29 were removed.
    await archive.send(BOX, (later[-1], {"laeq": 99.0, "pm2_5": 5.0}))
    assert await read() == before
    await archive.roll_up()
    (await api.post("/v1/roll-ups/backfill", json={})).raise_for_status()
    assert await archive.count("rollup_states", "backfill_next IS NOT NULL") > 0
    assert await read() == before
    # So many stale hours that all samples of the range are read.
    monkeypatch.setattr(rollup_queries, "_MANY", 20)
    await archive.owner.execute(
        "INSERT INTO rollup_marks SELECT $1, $2::timestamptz + n * interval '1 hour', 0"
        " FROM generate_series(1, 150, 2) AS n ON CONFLICT DO NOTHING",
        *(key, span[0]),
    )
    await archive.owner.execute(
        "UPDATE rollup_states SET backfill_from = NULL, backfill_next = NULL, backfill_until = NULL"
    )
    assert await read() == before
    await archive.roll_up()
    assert await read() == before


async def test_marks_are_worked_off_before_anything_goes(archive: Archive) -> None:
    # Chunks that others' samples hold: what was summarised would go with a whole one, marks or not.
    await archive.elsewhere(*(NOW - timedelta(days=7 * weeks) for weeks in range(4)))
    await archive.fill(20)
    await archive.set(default_days=15, purposes={"noise": 5}, removes=True)
    late = midnight(10) + timedelta(hours=3, minutes=10)
    await archive.send(BOX, (late, {"laeq": 90.0, "pm2_5": 1.0}))
    before = await archive.holds()
    await archive.clean()
    assert await archive.holds() == before
    await archive.roll_up()
    await archive.clean()
    # It was summarised, and then lost its noise.
    summary = "SELECT max(max) FROM daily WHERE metric = 'laeq'"
    assert await archive.owner.fetchval(summary) == 90.0
    assert await archive.owner.fetchval("SELECT laeq FROM samples WHERE time = $1", late) is None
    assert await archive.count("samples", "time = $1 AND pm2_5 IS NOT NULL", late) == 1
    # What comes late into days that were cleaned is found again.
    later = midnight(12) + timedelta(hours=3, minutes=10)
    await archive.send(BOX, (later, {"laeq": 91.0, "pm2_5": 2.0}), (later + EVERY, {"co2": 400.0}))
    await archive.roll_up()
    await archive.clean()
    assert await archive.count("samples", "laeq > 90") == 0
    assert await archive.count("samples", "time IN ($1, $2)", later, later + EVERY) == 2


async def test_chunks_go_as_a_whole_where_nothing_in_them_is_kept(archive: Archive) -> None:
    await archive.fill(60)
    chunks = "SELECT count(*) FROM show_chunks('samples')"
    before = await archive.owner.fetchval(chunks)
    kept = NOW - timedelta(days=40)
    await archive.elsewhere(kept)
    await archive.set(default_days=10, removes=True)
    # Those that end up to ten days ago; the one with the other site's sample stays.
    whole = await archive.owner.fetchval(
        "SELECT count(*) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'samples' AND range_end <= $1"
        " AND NOT (range_start <= $2 AND $2 < range_end)",
        *(midnight(10), kept),
    )
    dropped = 0
    while await archive.maintainer.connection.fetchrow("SELECT * FROM retention_drop()"):
        dropped += 1
    assert dropped == whole > 4
    assert await archive.owner.fetchval(chunks) == before - dropped
    assert await archive.count("samples", "odour IS NOT NULL") == 1
    assert await archive.count("samples", "time < $1", NOW - timedelta(days=40 + 14)) == 0
    await archive.clean()
    assert midnight(10) <= (await archive.times("odour IS NULL"))[0]
    assert await archive.count("samples", "odour IS NOT NULL") == 1


async def test_a_chunk_stays_until_the_days_that_reach_into_it_are_summarised(archive: Archive) -> None:
    # A chunk ends at midnight of UTC: Paris' day has begun in it, and goes on in the next one.
    chunks = (
        "SELECT c.range_end AS last FROM timescaledb_information.chunks c"
        " WHERE c.hypertable_name = 'samples' AND c.range_end < $1"
    )
    await archive.fill(40)
    border: datetime = await archive.owner.fetchval(
        f"{chunks} ORDER BY 1 DESC LIMIT 1", NOW - timedelta(days=15)
    )
    day = border.astimezone(PARIS).date()
    await archive.send(BOX, (border - timedelta(minutes=30), {"laeq": 95.0}))
    await archive.roll_up()
    await archive.send(BOX, (border + timedelta(hours=3, minutes=10), {"laeq": 80.0}))
    await archive.set(default_days=max(days for days in range(40) if midnight(days) > border), removes=True)

    async def drop() -> list[datetime]:
        dropped = []
        while row := await archive.maintainer.connection.fetchrow("SELECT * FROM retention_drop()"):
            dropped.append(row["last"])
        return dropped

    # Those before it are of days that are summarised.
    assert max(await drop()) == border - timedelta(days=7)
    await archive.roll_up()
    assert await drop() == [border]
    summary = "SELECT max, count FROM daily WHERE metric = 'laeq' AND day = $1"
    begins = datetime(day.year, day.month, day.day, tzinfo=PARIS)
    assert [tuple(row) for row in await archive.owner.fetch(summary, begins)] == [(95.0, 6)]


@shifted_clock.WAITS_IN_POSTGRESQL
async def test_a_chunk_that_somebody_writes_to_is_left_for_later(archive: Archive) -> None:
    await archive.fill(30)
    await archive.set(default_days=5, removes=True)
    written = NOW - timedelta(days=20, minutes=7)
    writing = archive.owner.transaction()
    await writing.start()
    await archive.owner.execute("INSERT INTO samples (box_key, time, pm2_5) VALUES (1, $1, 1)", written)
    before = await archive.owner.fetchval("SELECT count(*) FROM show_chunks('samples')")
    dropped = []
    while row := await archive.maintainer.connection.fetchrow("SELECT * FROM retention_drop()"):
        dropped.append((row["first"], row["last"]))
    assert dropped
    assert not any(first <= written < last for first, last in dropped)
    await writing.commit()
    assert await archive.owner.fetchval("SELECT count(*) FROM show_chunks('samples')") == before - len(
        dropped
    )
    assert await archive.count("samples", "time = $1", written) == 1


async def test_the_door_refuses_by_the_longest_of_a_samples_purposes(archive: Archive) -> None:
    await archive.set(default_days=20, purposes={"noise": 5, "acoustic_safety": 3})
    old = NOW - timedelta(days=10)
    receipt = await archive.send(
        BOX,
        (old, {"laeq": 50.0}),
        (old + EVERY, {"laeq": 50.0, "pm2_5": 1.0}),
        (old - timedelta(days=12), {"pm2_5": 1.0}),
    )
    assert (receipt.stored, [turned.rejection.code for turned in receipt.rejections]) == (
        1,
        ["time_too_old"] * 2,
    )
    late, timely = NOW - timedelta(days=4), NOW - timedelta(days=2)
    turned = [await archive.send_event(BOX, time) for time in (late, timely)]
    assert [[each.rejection.code for each in found.rejections] for found in turned] == [["time_too_old"], []]
    # Without days of their own they are taken whatever their age, as samples of a site without any are.
    await archive.set(default_days=3)
    assert (await archive.send_event(BOX, late)).rejections == []


async def test_latest_values_that_are_too_old_go_from_the_consumers_memory_too(archive: Archive) -> None:
    old = NOW - timedelta(days=20)
    await archive.send(BOX, (old, {"laeq": 77.0, "pm2_5": 5.0}), (old + EVERY, {"pm2_5": 6.0}))
    await archive.roll_up()
    await archive.door.pipeline.write_back(archive.door.connection)
    await archive.set(purposes={"noise": 3}, removes=True)
    await archive.clean()
    latest = f"/v1/boxes/{BOX}/latest"
    told = (await archive.tenant.client.get(latest)).json()["values"]
    assert told.keys() == {"pm2_5"}
    # The consumer had them in memory, and writes what it knows.
    await archive.send(BOX, (NOW, {"co2": 400.0}))
    await archive.door.pipeline.write_back(archive.door.connection)
    told = (await archive.tenant.client.get(latest)).json()["values"]
    assert told.keys() == {"pm2_5", "co2"}


async def test_counting_is_bounded_and_says_so(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "SAMPLES_LIMIT", 10)
    await archive.fill(20)
    told = await archive.preview(default_days=2)
    assert (told["complete"], told["samples"]) == (False, 10)


async def test_the_maintain_role_takes_values_and_gives_none(archive: Archive) -> None:
    await archive.fill(2)
    connection = archive.maintainer.connection
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("UPDATE samples SET pm2_5 = NULL")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("SELECT drop_chunks('samples', older_than => now())")
    before = await archive.holds()
    cleared = "SELECT retention_clear(1, '2000-01-01', now(), $1)"
    assert await connection.fetchval(cleared, ["time", "box_key", "pm2_5 = 1, laeq"]) == 0
    assert await archive.holds() == before
    assert await connection.fetchval(cleared, ["laeq"]) == 8


async def test_a_box_that_sends_more_than_its_interval_says_goes_in_small_steps(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Others' samples lie in the same chunks: none goes as a whole.
    await archive.elsewhere(*(NOW - timedelta(days=7 * weeks) for weeks in range(1, 5)))
    await archive.fill(20)
    await archive.owner.execute("UPDATE boxes SET interval_s = 604800")
    await archive.set(default_days=5, removes=True)
    monkeypatch.setattr(worker_module, "_STEP_SAMPLES", 5)
    monkeypatch.setattr(worker_module, "_RUN_S", 0.0)
    worker = RetentionWorker()
    whose = "box_key = (SELECT key FROM boxes WHERE id = $1)"
    left = [await archive.count("samples", whose, BOX)]
    while await worker.run_once(archive.maintainer.connection):
        left.append(await archive.count("samples", whose, BOX))
    # A day has four, and is the least.
    steps = {before - after for before, after in pairwise(left)}
    assert max(steps) <= 5
    assert len(await archive.times()) > 0
    assert (await archive.times("odour IS NULL"))[0] >= midnight(5)


async def test_a_box_that_cannot_be_cleaned_holds_up_no_other(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.elsewhere(*(NOW - timedelta(days=7 * weeks) for weeks in range(1, 5)))
    for box in (BOX, OTHER):
        await archive.fill(20, box=box)
    await archive.set(default_days=5, removes=True)
    key = await archive.owner.fetchval("SELECT key FROM boxes WHERE id = $1", BOX)
    # Such as a day of a box that sends more than can be removed within a statement's time.
    await archive.owner.execute(
        "CREATE FUNCTION too_much() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF OLD.box_key = {key} THEN RAISE EXCEPTION 'too much'; END IF; RETURN OLD; END $$"
    )
    await archive.owner.execute(
        "CREATE TRIGGER too_much BEFORE DELETE ON samples FOR EACH ROW EXECUTE FUNCTION too_much()"
    )
    monkeypatch.setattr(worker_module, "_RUN_S", 60.0)
    worker = RetentionWorker()
    with pytest.raises(asyncpg.RaiseError):
        await worker.run_once(archive.maintainer.connection)
    assert not await worker.run_once(archive.maintainer.connection)
    whose = "box_key = (SELECT key FROM boxes WHERE id = $1) AND time < $2"
    assert await archive.count("samples", whose, OTHER, midnight(5)) == 0
    assert await archive.count("samples", whose, BOX, midnight(5)) > 0
