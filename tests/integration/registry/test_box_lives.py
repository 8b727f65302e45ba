"""How boxes live: what is shown of it, what they are listed by, and how their credentials end."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.registry.settings import SitesSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.registry.links import can_connect, link

SOON_S = 20.0  # the keep-alive of its connection is a minute
"""Within this a box that may not connect any more is disconnected and refused."""


async def make(tenant: Tenant, site_id: str, *identifiers: str, **more: object) -> list[dict[str, Any]]:
    body = {"boxes": [{"id": identifier, "site_id": site_id, **more} for identifier in identifiers]}
    answer = await tenant.client.post("/v1/boxes/bulk", json=body)
    assert answer.status_code == 201, answer.text
    made: list[dict[str, Any]] = answer.json()["data"]
    return made


async def write(database: Database, table: str, box: str, **values: object) -> None:
    """What the pipeline writes of a box."""
    settings = ", ".join(f"{name} = :{name}" for name in values)
    where = "id = :box" if table == "boxes" else "box_key = (SELECT key FROM boxes WHERE id = :box)"
    async with database.write() as session:
        await session.execute(text(f"UPDATE {table} SET {settings} WHERE {where}"), {**values, "box": box})  # noqa: S608 (the test's own names)


async def listed(tenant: Tenant, **params: str | float | bool) -> list[str]:
    answer = await tenant.client.get("/v1/boxes", params=params)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


async def test_a_box_tells_how_it_lives(tenant: Tenant, site_id: str, database: Database) -> None:
    (made,) = await make(tenant, site_id, "box-1")
    names = ("last_sample_at", "last_heard_at", "clock_skew_ms", "late_share", "revoked_at", "firmware")
    assert [made[name] for name in names] == [None] * 6
    assert made["silent"] is False
    heard = datetime(2026, 11, 24, 10, 0, 2, tzinfo=UTC)
    micros = round((heard - timedelta(seconds=2)).timestamp() * 1_000_000)
    state = {"newest_us": micros, "last_sample_at": heard, "samples": 8, "late": 2, "clock_skew_ms": -1500.5}
    await write(database, "box_states", "box-1", **state)
    await write(database, "boxes", "box-1", state="online", firmware="2.3.1", battery=87.5, rssi=-67.0)
    for path in ("/v1/boxes/box-1", "/v1/boxes"):
        answer = (await tenant.client.get(path)).json()
        box = answer["data"][0] if path == "/v1/boxes" else answer
        assert (box["last_sample_at"], box["last_heard_at"]) == (
            "2026-11-24T10:00:00Z",
            "2026-11-24T10:00:02Z",
        )
        assert (box["clock_skew_ms"], box["late_share"], box["silent"]) == (-1500.5, 0.25, True)
        assert (box["state"], box["firmware"], box["battery"], box["rssi"]) == ("online", "2.3.1", 87.5, -67)


async def test_a_box_is_silent_after_so_many_of_its_intervals(
    application: FastAPI, tenant: Tenant, site_id: str, database: Database
) -> None:
    await make(tenant, site_id, "new", "old", "heard", "quiet", interval_s=60)
    now = datetime.now(UTC)
    await write(database, "boxes", "old", created_at=now - timedelta(seconds=200))
    for box, age_s in (("heard", 160), ("quiet", 200)):
        await write(database, "boxes", box, created_at=now - timedelta(days=1))
        await write(database, "box_states", box, last_sample_at=now - timedelta(seconds=age_s))
    assert await listed(tenant, silent=True) == ["old", "quiet"]
    assert await listed(tenant, silent=False) == ["heard", "new"]
    provide_resources(application, SitesSettings(silent_intervals=2.5))
    # Another address: the settings that a call got before are remembered for its address.
    assert await listed(tenant, silent=True, limit=50) == ["heard", "old", "quiet"]
    await tenant.client.patch("/v1/boxes/quiet", json={"interval_s": 3600})
    assert await listed(tenant, silent=True, limit=50) == ["heard", "old"]


async def test_a_box_of_which_all_is_refused_is_not_silent(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    await make(tenant, site_id, "good", "mixed", "new", "once", "quiet", "refused", interval_s=60)
    now = datetime.now(UTC)
    refuse = text(
        "INSERT INTO box_refusals SELECT key, :at, 'value_out_of_bounds' FROM boxes WHERE id = :box"
    )
    # Seconds since samples last came, and since something was last refused.
    ages = {
        "good": (100, None),
        "mixed": (100, 5),
        "new": (None, 5),
        "once": (500, 300),
        "quiet": (500, None),
        "refused": (500, 100),
    }
    for box, (heard_s, refused_s) in ages.items():
        if box != "new":
            await write(database, "boxes", box, created_at=now - timedelta(days=1))
        if heard_s is not None:
            await write(database, "box_states", box, last_sample_at=now - timedelta(seconds=heard_s))
        if refused_s is not None:
            async with database.write() as session:
                await session.execute(refuse, {"box": box, "at": now - timedelta(seconds=refused_s)})
    assert await listed(tenant, activity="active") == ["good", "mixed"]
    assert await listed(tenant, activity="refused") == ["new", "refused"]
    assert await listed(tenant, activity="silent") == await listed(tenant, silent=True) == ["once", "quiet"]
    refused = (await tenant.client.get("/v1/boxes/refused")).json()
    assert (refused["activity"], refused["silent"]) == ("refused", False)
    assert refused["last_refused_code"] == "value_out_of_bounds"
    assert datetime.fromisoformat(refused["last_refused_at"]) == now - timedelta(seconds=100)
    good = (await tenant.client.get("/v1/boxes/good")).json()
    assert (good["activity"], good["last_refused_at"], good["last_refused_code"]) == ("active", None, None)


async def test_what_is_refused_is_noted_of_its_box(
    tenant: Tenant, other_tenant: Tenant, site_id: str, database: Database
) -> None:
    made = await make(tenant, site_id, "box-1", "box-2")
    assert [box["activity"] for box in made] == ["active", "active"]
    bad = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": -1}}

    async def shown(box: str) -> tuple[str, str | None]:
        answer = (await tenant.client.get(f"/v1/boxes/{box}")).json()
        return answer["activity"], answer["last_refused_code"]

    await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [bad]})
    assert await shown("box-1") == ("refused", "value_out_of_bounds")
    # Within ten seconds nothing more is written; after them it is.
    worse = {**bad, "values": {"warp": 1}}
    await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [worse]})
    assert await shown("box-1") == ("refused", "value_out_of_bounds")
    await write(database, "box_refusals", "box-1", refused_at=datetime.now(UTC) - timedelta(seconds=11))
    await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [worse]})
    assert await shown("box-1") == ("refused", "unknown_metric")
    good = {**bad, "values": {"pm2_5": 1}}
    await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [good]})
    assert await shown("box-1") == ("active", "unknown_metric")
    # A tenant cannot have another's box shown as refused, nor can an event that may be kept nowhere be seen.
    await other_tenant.client.post("/v1/telemetry", json={"box": "box-2", "samples": [bad]})
    event = {"time": bad["time"], "type": "gunshot"}
    answer = await tenant.client.post("/v1/events", json={"box": "box-2", "events": [event]})
    assert answer.json()["code"] == "purpose_not_declared"
    assert await shown("box-2") == ("active", None)


async def test_boxes_are_listed_by_how_they_live(tenant: Tenant, site_id: str, database: Database) -> None:
    await make(tenant, site_id, *(f"box-{number}" for number in range(6)))
    for number in range(5):
        said = {"state": "online", "firmware": f"2.{number % 2}", "battery": number * 10.0}
        await write(database, "boxes", f"box-{number}", **said, rssi=-60.0 - number)
        counts = {"samples": 100, "late": number, "clock_skew_ms": (number - 2) * 1000.0}
        await write(database, "box_states", f"box-{number}", **counts, last_sample_at=datetime.now(UTC))
    assert await listed(tenant, firmware="2.1") == ["box-1", "box-3"]
    assert await listed(tenant, battery_below=20) == ["box-0", "box-1"]
    assert await listed(tenant, rssi_below=-62.5) == ["box-3", "box-4"]
    assert await listed(tenant, late_share_above=0.025) == ["box-3", "box-4"]
    assert await listed(tenant, clock_skew_above_ms=1500) == ["box-0", "box-4"]
    assert await listed(tenant, state="online", firmware="2.0", battery_below=35, silent=False) == [
        "box-0",
        "box-2",
    ]
    page = (await tenant.client.get("/v1/boxes", params={"rssi_below": -61.5, "limit": 2})).json()
    assert [row["id"] for row in page["data"]] == ["box-2", "box-3"]
    assert await listed(tenant, rssi_below=-61.5, limit=2, cursor=page["next"]) == ["box-4"]
    for name, value in (
        ("silent", "perhaps"),
        ("battery_below", "nan"),
        ("battery_below", "101"),
        ("rssi_below", "inf"),
        ("late_share_above", "1.5"),
        ("clock_skew_above_ms", "-1"),
        ("firmware", "a\0"),
        ("quiet", "true"),
    ):
        assert (await tenant.client.get("/v1/boxes", params={name: value})).status_code == 422, name


async def stay(client: aiomqtt.Client, connected: asyncio.Event) -> None:
    """Stay connected until the broker ends it."""
    with suppress(aiomqtt.MqttError):
        async with client:
            connected.set()
            async for _ in client.messages:
                pass


@pytest.mark.parametrize("call", ["POST /credentials", "POST /credentials/revoke", "DELETE "])
async def test_a_box_that_is_connected_is_disconnected_and_refused(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, call: str
) -> None:
    leaving, staying = await make(tenant, site_id, "leaving", "staying")
    connected = asyncio.Event()
    staying_on = asyncio.create_task(stay(link(mosquitto, **leaving["credentials"]), connected))
    async with link(mosquitto, **staying["credentials"]) as other:
        await asyncio.wait_for(connected.wait(), 60)
        async with asyncio.timeout(SOON_S):
            method, _, path = call.partition(" ")
            (await tenant.client.request(method, f"/v1/boxes/leaving{path}")).raise_for_status()
            assert not await can_connect(mosquitto, **leaving["credentials"])
            await staying_on
        await other.publish("vigie/v1/staying/status", b"{}", qos=1, timeout=20)


async def test_a_revoked_box_stays_registered_and_comes_back_with_new_credentials(
    tenant: Tenant, other_tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    (made,) = await make(tenant, site_id, "box-1", name="North")
    path = "/v1/boxes/box-1/credentials"
    assert (await other_tenant.client.post(f"{path}/revoke")).status_code == 404
    assert await can_connect(mosquitto, **made["credentials"])
    first = (await tenant.client.post(f"{path}/revoke")).json()
    assert first["revoked_at"] is not None
    assert first["name"] == "North"
    again = (await tenant.client.post(f"{path}/revoke")).json()
    assert again["revoked_at"] == first["revoked_at"]
    assert not await can_connect(mosquitto, **made["credentials"])
    assert not await can_connect(mosquitto, "box-1", "")
    new = (await tenant.client.post(path)).json()["credentials"]
    assert await can_connect(mosquitto, **new)
    assert (await tenant.client.get("/v1/boxes/box-1")).json()["revoked_at"] is None
