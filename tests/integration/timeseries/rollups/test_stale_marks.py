"""Marks: no sample is ever left out of a summary, whoever writes while marks are taken away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.platform.db.database import Database
from app.processes.maintain import _purge_boxes
from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, register

HOUR = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> None:
    await register(tenant.client, site_id, ["a", "b"])


def at(minute: float, value: float = 1.0) -> list[dict[str, Any]]:
    return [{"time": (HOUR + timedelta(minutes=minute)).isoformat(), "values": {"pm2_5": value}}]


async def marks(connection: asyncpg.Connection) -> list[tuple[str, datetime]]:
    rows = await connection.fetch(
        "SELECT b.id, m.hour FROM rollup_marks m JOIN boxes b ON b.key = m.box_key ORDER BY b.id, m.hour"
    )
    return [tuple(row) for row in rows]


async def counts(connection: asyncpg.Connection, box: str = "a") -> int | None:
    found: int | None = await connection.fetchval(
        "SELECT count[13] FROM hourly h JOIN boxes b ON b.key = h.box_key WHERE b.id = $1", box
    )
    return found


@pytest.mark.usefixtures("boxes")
async def test_an_hour_is_marked_once_and_again_when_its_mark_was_taken(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    await door.take(("a", at(1)), ("b", at(59)), ("b", at(60)))
    assert await marks(connection) == [("a", HOUR), ("b", HOUR), ("b", HOUR + timedelta(hours=1))]
    version = await connection.fetchval("SELECT xmin FROM rollup_marks ORDER BY box_key LIMIT 1")
    await door.take(("a", at(2)))
    # It is kept in mind: nothing was written.
    assert await connection.fetchval("SELECT xmin FROM rollup_marks ORDER BY box_key LIMIT 1") == version
    await maintainer.turn()
    assert await marks(connection) == []
    assert await counts(connection) == 2
    await door.take(("a", at(3)))
    assert await marks(connection) == [("a", HOUR)]
    await maintainer.turn()
    assert await counts(connection) == 3


@pytest.mark.usefixtures("boxes")
async def test_repeats_mark_nothing_and_what_is_rolled_back_is_not_kept_in_mind(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    await door.take(("a", at(1)))
    await maintainer.turn()
    receipt = await door.take(("a", at(1)))
    assert receipt.duplicate == 1
    assert await marks(connection) == []
    transaction = connection.transaction()
    await transaction.start()
    await door.take(("a", at(2)))
    await transaction.rollback()
    # Whoever rolls a batch back from outside has a pipeline of its own; this one begins anew.
    door = Door(connection)
    await door.take(("a", at(2)))
    assert await marks(connection) == [("a", HOUR)]


@pytest.mark.usefixtures("boxes")
async def test_a_transaction_under_way_holds_marks_until_it_is_through(
    database: Database, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    await door.take(("a", at(1)))
    # The consumer has the hour in mind, and a batch under way that relies on it.
    transaction = connection.transaction()
    await transaction.start()
    await door.take(("a", at(2)))
    await maintainer.turn()
    await maintainer.turn()
    other = await database.connect()
    assert await marks(other) == [("a", HOUR)]
    assert await counts(other) is None
    await transaction.commit()
    await maintainer.turn()
    assert await marks(other) == []
    assert await counts(other) == 2
    # The epoch has moved: the next batch writes its mark.
    await door.take(("a", at(3)))
    assert await marks(other) == [("a", HOUR)]
    await other.close()


@pytest.mark.usefixtures("boxes")
async def test_a_mark_that_is_written_while_it_is_taken_stays(
    database: Database,
    connection: asyncpg.Connection,
    maintainer: Maintainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Door(connection, is_consumer=False)
    await door.take(("a", at(1)))
    other = await database.connect()
    summarise = maintainer.worker._summarise

    async def late(*args: Any) -> None:  # noqa: ANN401
        await summarise(*args)
        # After the samples were read, before the mark is taken away.
        await Door(other, is_consumer=False).take(("a", at(2)))

    monkeypatch.setattr(maintainer.worker, "_summarise", late)
    await maintainer.turn()
    monkeypatch.undo()
    assert await counts(connection) == 1
    assert await marks(connection) == [("a", HOUR)]
    await maintainer.worker._epochs.end(maintainer.connection)
    await maintainer.turn()
    assert await counts(connection) == 2
    await other.close()


@pytest.mark.usefixtures("boxes")
async def test_an_hour_under_way_is_left_alone(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    now = datetime.now(UTC)
    await Door(connection).take(("a", [{"time": now.isoformat(), "values": {"pm2_5": 1.0}}]))
    await maintainer.turn()
    assert len(await marks(connection)) == 1
    assert await connection.fetchval("SELECT marks_epoch FROM registry") == 0
    await maintainer.worker.update_metrics(maintainer.connection)


@pytest.mark.usefixtures("boxes")
async def test_days_follow_the_sites_time_zone(
    tenant: Tenant, site_id: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    # 12:00 UTC is 13:00 in Paris, and the next day in Auckland.
    await door.take(("a", at(0)), ("a", at(60)))
    await maintainer.finish()
    days = "SELECT day, count FROM daily ORDER BY day"
    assert [tuple(row) for row in await connection.fetch(days)] == [
        (datetime(2026, 3, 27, 23, tzinfo=UTC), 2)
    ]
    answer = await tenant.client.patch(f"/v1/sites/{site_id}", json={"timezone": "Pacific/Auckland"})
    answer.raise_for_status()
    await maintainer.turn()
    await maintainer.finish()
    assert [tuple(row) for row in await connection.fetch(days)] == [
        (datetime(2026, 3, 28, 11, tzinfo=UTC), 2)
    ]


@pytest.mark.usefixtures("boxes")
async def test_what_was_summarised_stays_when_its_samples_are_gone(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    await door.take(*[("a", at(minute)) for minute in range(10)])
    await maintainer.finish()
    await connection.execute("DELETE FROM samples")
    await door.take(("a", at(20, 50.0)))
    await maintainer.finish()
    assert await counts(connection) == 10
    assert await connection.fetchval("SELECT max FROM daily") == 1.0


@pytest.mark.usefixtures("boxes")
async def test_a_removed_box_leaves_nothing(
    tenant: Tenant,
    connection: asyncpg.Connection,
    maintainer: Maintainer,
) -> None:
    await Door(connection).take(("a", at(0)), ("b", at(0)))
    await maintainer.finish()
    await Door(connection).take(("a", at(1)))
    (await tenant.client.delete("/v1/boxes/a")).raise_for_status()
    await connection.execute("UPDATE boxes SET deleted_at = now() - interval '1 hour' WHERE id = 'a'")
    await _purge_boxes(maintainer.connection)
    for name in ("samples", "hourly", "daily", "rollup_states"):
        keys = await connection.fetch(f"SELECT DISTINCT b.id FROM {name} JOIN boxes b ON b.key = box_key")  # noqa: S608
        assert [row[0] for row in keys] == ["b"], name
        assert await connection.fetchval(f"SELECT count(*) FROM {name}") == 1, name  # noqa: S608
    assert await marks(connection) == []
