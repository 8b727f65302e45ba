"""Boxes that are silent are told of one by one, but not those of a site that is off line as a whole."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from app.alerts.silence_and_escalation_timers import run_alert_timers
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from tests.conftest import Tenant

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)


class Site:
    """A site with four boxes, both presets and the inhibition between them; minutes are those from START."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.consumer = IngestPipeline(RegistryCache(), is_consumer=True)
        self.boxes = [f"silent-{uuid4().hex[:8]}" for _ in range(4)]
        self.rules: dict[str, str] = {}

    async def furnish(self, tenant: Tenant, site_id: str) -> None:
        for box in self.boxes:
            body = {"id": box, "site_id": site_id, "interval_s": 60}
            (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
        for preset in ("site-silent", "box-silent"):
            body = {"site_id": site_id}
            made = await tenant.client.post(f"/v1/rule-presets/{preset}/apply", json=body)
            self.rules[made.json()["rules"][0]["id"]] = preset
        source, target = self.rules
        inhibition = {
            "name": "The site says it all",
            "source": {"rule_ids": [source]},
            "target": {"rule_ids": [target]},
            "equal": ["site"],
        }
        (await tenant.client.post("/v1/inhibitions", json=inhibition)).raise_for_status()

    async def pass_time(self, minutes: Iterable[int], *sending: str) -> None:
        """Some boxes send each minute, and the consumer looks after the others."""
        for minute in minutes:
            now = START + timedelta(minutes=minute)
            at = now.isoformat().replace("+00:00", "Z")
            body = json.dumps({"time": at, "values": {"temperature": 20}}).encode()
            topics = [f"vigie/v1/{box}/telemetry" for box in sending]
            intake = decode_batch(
                topics, [body] * len(topics), now_us=from_datetime(now), max_future_us=60_000_000
            )
            assert not intake.rejections
            if topics:
                await self.consumer.commit(self.connection, intake, now=now)
            await self.consumer.run_due_timers(self.connection, now=now + timedelta(seconds=30))

    async def told(self) -> list[tuple[str, str, str | None]]:
        rows = await self.connection.fetch("SELECT type, payload::text FROM outbox ORDER BY position")
        found = []
        for kind, payload in rows:
            data = json.loads(payload)
            data = data.get("data", data)
            rule = self.rules[data["rule_id"] if "rule_id" in data else data["rule"]["id"]]
            found.append((kind.removeprefix("alert."), rule, data["box"]))
        return found


async def test_only_the_site_is_told_of_while_all_of_it_is_off_line(
    database: Database, tenant: Tenant, site_id: str
) -> None:
    connection = await database.connect()
    try:
        site = Site(connection)
        await site.furnish(tenant, site_id)
        first, second, third, last = site.boxes
        await site.pass_time(range(5), *site.boxes)
        # Off line for half an hour: the boxes fire too, and nobody is told.
        await site.pass_time(range(5, 35))
        assert await site.told() == [("firing", "site-silent", None)]
        # They come back one after another, but for one.
        await site.pass_time(range(35, 40), first)
        await site.pass_time(range(40, 50), first, second)
        await site.pass_time(range(50, 55), first, second, third)
        await run_alert_timers(connection)
        assert await site.told() == [("firing", "site-silent", None)]
        # The site has been well for half an hour: the one that is dead is told of.
        await site.pass_time(range(55, 75), first, second, third)
        await run_alert_timers(connection)
        assert await site.told() == [
            ("firing", "site-silent", None),
            ("resolved", "site-silent", None),
            ("firing", "box-silent", last),
        ]
    finally:
        connection.terminate()
