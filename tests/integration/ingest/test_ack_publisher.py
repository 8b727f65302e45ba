"""A box that asks for acknowledgements gets them by name, after the commit, over the real broker."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg

from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.scenarios.processes import role, until


async def test_a_box_is_told_what_is_committed_and_what_was_refused(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: VigieSettings, tmp_path: Path
) -> None:
    body = {"id": "acked", "site_id": site_id, "ack": True}
    password = (await tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()["credentials"]
    connection = await asyncpg.connect(settings.database.url)
    client = aiomqtt.Client(
        mosquitto.host, mosquitto.port, username="acked", password=password["password"], identifier="acked"
    )
    told: list[dict[str, Any]] = []

    async def read() -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            told.append(json.loads(message.payload))
            stored = await connection.fetchval("SELECT count(*) FROM samples")
            assert stored >= len(told[-1].get("seqs", []))

    async with client, role("ingest", tmp_path):
        await client.subscribe("vigie/v1/acked/ack", qos=1)
        reading = asyncio.create_task(read())

        async def consuming() -> bool:
            query = "SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'"
            return bool(await connection.fetchval(query))

        await until(consuming)
        for seq, values in ((1, {"co2": 400}), (2, {"warp": 1}), (3, {"co2": 410})):
            sample = {"seq": seq, "time": f"2026-11-24T10:00:0{seq}Z", "values": values}
            await client.publish("vigie/v1/acked/telemetry", json.dumps(sample), qos=1)

        async def complete() -> bool:
            return len([seq for ack in told for seq in ack.get("seqs", [])]) == 2 and any(
                "rejected" in ack for ack in told
            )

        await until(complete)
        reading.cancel()
    assert sorted(seq for ack in told for seq in ack.get("seqs", [])) == [1, 3]
    refused = [entry for ack in told for entry in ack.get("rejected", [])]
    assert refused == [{"seq": 2, "code": "unknown_metric"}]
    await connection.close()
