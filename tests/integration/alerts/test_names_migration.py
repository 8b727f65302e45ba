"""The migration that says who acknowledged an alert by kind and name."""

import asyncio

import asyncpg

from app.platform.db.schema_upgrade import downgrade, upgrade
from app.settings import VigieSettings
from tests.integration.alerts.watched import WatchedAlerts, add_box


async def test_names_and_kinds_are_taken_from_the_timeline(
    watched: WatchedAlerts, settings: VigieSettings, connection: asyncpg.Connection
) -> None:
    await add_box(watched, "names-2")
    for box in (watched.box, "names-2"):
        await watched.send((1, 30), (3, 30), box=box)
    first, second = await watched.alerts()
    for alert in (first, second):
        await watched.client.post(f"/v1/alerts/{alert['id']}/acknowledge", json={"comment": "seen"})
    before = await watched.alerts()
    by = before[0]["acknowledged_by"]
    # The other one was a person, who is known by an id alone.
    await connection.execute(
        "INSERT INTO users (id, email, name, locale, created_at, updated_at) "
        "VALUES ($1, 'ada@example.com', 'Ada', 'fr', now(), now())",
        second["id"],
    )
    await connection.execute(
        "UPDATE alert_timeline SET actor = 'Ada', actor_key = $1 WHERE alert_id = $1", second["id"]
    )
    await connection.execute("UPDATE alerts SET acknowledged_by = $1 WHERE id = $1", second["id"])
    await asyncio.to_thread(downgrade, settings.database, "0027")
    await asyncio.to_thread(upgrade, settings.database)
    await connection.reload_schema_state()
    after = {alert["id"]: alert["acknowledged_by"] for alert in await watched.alerts()}
    assert after == {
        first["id"]: by,
        second["id"]: {"kind": "user", "id": second["id"], "name": "Ada"},
    }
    kinds = "SELECT DISTINCT actor_kind FROM alert_timeline WHERE alert_id = $1 AND actor_key IS NOT NULL"
    assert await connection.fetchval(kinds, second["id"]) == "user"
