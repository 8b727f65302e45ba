"""The migrations that give alerts their highest severity, and count them by it in the register."""

import asyncio

from app.platform.db.schema_upgrade import downgrade, upgrade
from app.settings import VigieSettings
from tests.integration.alerts.helpers import AlertStreet


async def test_it_is_taken_from_the_timeline(street: AlertStreet, settings: VigieSettings) -> None:
    was, is_still, never = street.story(), street.story(street.second), street.story(None)
    await street.batch(was.fires(1), is_still.fires(1), never.fires(1, "info"))
    await street.batch(was.rises(2, "critical"), is_still.rises(2, "critical"))
    await street.batch(was.falls(3, "info"), was.ends(4))
    before = {alert["id"]: alert["highest_severity"] for alert in await street.alerts()}
    await asyncio.to_thread(downgrade, settings.database, "0009")
    await street.connection.execute("DELETE FROM alert_timeline WHERE alert_id = $1", never.alert_id)
    await asyncio.to_thread(upgrade, settings.database)
    await street.connection.reload_schema_state()
    after = {alert["id"]: alert["highest_severity"] for alert in await street.alerts()}
    assert after == before
    assert after == {was.alert_id: "critical", is_still.alert_id: "critical", never.alert_id: "info"}


async def test_the_register_counts_by_it(street: AlertStreet, settings: VigieSettings) -> None:
    eased = street.story()
    await street.batch(eased.fires(1, "critical"), eased.falls(2, "info"))
    await street.connection.execute("UPDATE alerts SET started_at = now() - interval '1 day'")

    async def read() -> tuple[dict[str, tuple[int, int]], tuple[object, ...]]:
        await street.connection.reload_schema_state()
        rows = await street.connection.fetch("SELECT severity, month, year FROM public_alerts")
        rights = await street.connection.fetchrow(
            "SELECT relacl::text, reloptions::text FROM pg_class WHERE oid = 'public_alerts'::regclass"
        )
        assert rights is not None
        return {row["severity"]: (row["month"], row["year"]) for row in rows}, tuple(rights)

    counts, rights = await read()
    assert counts == {"critical": (1, 1)}
    assert rights[1] == "{security_barrier=true}"
    await asyncio.to_thread(downgrade, settings.database, "0062")
    assert await read() == ({"info": (1, 1)}, rights)
    await asyncio.to_thread(upgrade, settings.database)
    assert await read() == ({"critical": (1, 1)}, rights)
