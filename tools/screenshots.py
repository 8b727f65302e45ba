"""Takes the pictures of register and console for the guides: `uv run python -m tools.screenshots`.

It starts the API on a private PostgreSQL with the city of the browser tests, and writes
`docs/img/register-*.png` and `docs/img/console-*.png` with Chromium.
"""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from playwright.async_api import Browser

from app.message_log.log_ownership import create_positions
from app.message_log.settings import MessageLogSettings
from app.platform.db.advisory_lock_keys import CONSUMER, MAINTAINER, PARTITION_CLASS
from tests.conftest import STREET, client_of
from tests.integration.console.visiting import open_signed_in_page
from tests.integration.notifications.streams import serving
from tests.integration.people.folk import OrganisationPeople
from tests.integration.public_register.browsing import chromium, furnish, looking, undeclared
from tests.integration.sound_incidents.square import BOXES, Square, shot
from tests.purposes import approve
from tools.clusters import nats_cluster
from tools.clusters.nats_cluster import NatsCluster
from tools.private_api import PrivateApi, start_private_api

_PICTURES: Final = Path(__file__).parents[1] / "docs" / "img"
_DESK: Final = {"viewport": {"width": 1180, "height": 980}}
_TALL: Final = {"viewport": {"width": 1180, "height": 1620}}
_NEAR: Final = {"viewport": {"width": 1180, "height": 1340}}
_PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
_DARK: Final = {**_DESK, "color_scheme": "dark"}
_RULES: Final = (
    ("Night noise", "warning", {"metric": "laeq", "operator": ">", "threshold": 65, "for": "PT3M"}),
    (
        "Fine particles",
        "critical",
        {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT2M"},
    ),
)
_PARTITIONS: Final = 12
_CLUSTER_PAGE: Final = "/console/administration/cluster"
# A partition whose replica is lost shows that after some seconds.
_LOG_SETTLES_S: Final = 8
_MACHINES: Final = """
INSERT INTO edges (name, host, port, started_at, seen_at, connected, drained_at, boxes, unsent_messages)
SELECT 'machine' || n, '10.0.0.' || n, 1883, now() - interval '3 days', now(), true, now(), 3300 + 17 * n, 0
FROM generate_series(1, 3) n;
INSERT INTO heartbeats (role, instance, state, at)
SELECT r.role, 'machine' || n || ':' || 4700 + r.number, CASE
    WHEN r.role = 'maintain' AND n = 1 THEN 'working' ELSE r.state END, now()
FROM generate_series(1, 3) n, (VALUES ('api', 5, 'serving with 2 workers'), ('deliver', 6, 'delivering'),
    ('edge', 7, 'draining'), ('ingest', 11, 'consuming'), ('maintain', 9, 'standby'))
    AS r (role, number, state);
UPDATE ingest_positions SET position = 90412 + 731 * partition,
    worker = 'machine' || 1 + partition % 2 || '-4711';
"""
_STILL_ALIVE: Final = """
UPDATE edges SET seen_at = now() - CASE name WHEN 'machine3' THEN interval '42 s' ELSE interval '0.4 s' END,
    drained_at = seen_at;
UPDATE heartbeats SET at = now() - CASE WHEN instance LIKE 'machine3:%' THEN interval '42 s'
    ELSE interval '0.8 s' END;
UPDATE ingest_positions SET committed_at = now(), acquired_at = now();
"""
# The map draws its last tiles after it is ready.
_SETTLING_MS: Final = 500


async def create_city(api: PrivateApi) -> tuple[str, str]:
    """Create the sites of the pictures; return the ids of a declared and of an undeclared one."""
    client = api.tenant.client
    street: str = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    owner = await asyncpg.connect(api.database_url)
    try:
        await furnish(client, owner, street)
    finally:
        await owner.close()
    return street, await undeclared(client)


async def take_register_pictures(api: PrivateApi, browser: Browser, base: str, target: Path) -> None:
    """Take the pictures of the register into a folder."""
    street, quay = await create_city(api)
    pages: list[tuple[str, str, dict[str, Any]]] = [
        ("en", "/public?lang=en", _DESK),
        ("fr", "/public?lang=fr", _DESK),
        ("site", f"/public/sites/{street}?lang=en", _TALL),
        ("near", "/public?lang=en&q=43.6,+1.44", _NEAR),
        ("undeclared", f"/public/sites/{quay}?lang=en", _DESK),
        ("mobile", "/public?lang=fr", _PHONE),
        ("dark", f"/public/sites/{street}?lang=fr#now", _DARK),
    ]
    for name, path, options in pages:
        async with looking(browser, base, **options) as watched:
            await watched.go(path)
            await watched.page.wait_for_timeout(_SETTLING_MS)
            await watched.page.screenshot(path=target / f"register-{name}.png", animations="disabled")
            watched.check()


async def raise_alerts(api: PrivateApi) -> str:
    """Define rules, send samples that raise alerts, and acknowledge one; return the alert to open."""
    client = api.tenant.client
    sites = (await client.get("/v1/sites")).json()["data"]
    boxes = (await client.get("/v1/boxes")).json()["data"]
    for site in sites:
        for name, severity, condition in _RULES:
            body = {"site_id": site["id"], "name": name, "severity": severity, "condition": condition}
            (await client.post("/v1/rules", json=body)).raise_for_status()
    now = datetime.now(UTC)
    for index, box in enumerate(boxes):
        samples = [
            {
                "time": (now - timedelta(minutes=minute)).isoformat(),
                "values": {
                    "laeq": 58.0 + (14 - minute) * (1.3 if index == 0 else 0.3),
                    "pm2_5": 12.0 + (14 - minute) * (1.9 if index in {0, 4} else 0.2),
                    "no2": 24.0 + (minute % 3),
                },
            }
            for minute in range(14, -1, -1)
        ]
        sent = await client.post("/v1/telemetry", json={"box": box["id"], "samples": samples})
        sent.raise_for_status()
    alerts = (await client.get("/v1/alerts", params={"state": "firing", "sort": "-severity"})).json()["data"]
    remark = {"comment": "The crew is on its way"}
    (await client.post(f"/v1/alerts/{alerts[1]['id']}/acknowledge", json=remark)).raise_for_status()
    opened: str = alerts[0]["id"]
    return opened


async def report_shot(api: PrivateApi) -> str:
    """Let six boxes of a square report a shot; return the incident."""
    client = api.tenant.client
    square = {**STREET, "name": "Place du Capitole"}
    site: str = (await client.post("/v1/sites", json=square)).raise_for_status().json()["id"]
    boxes = [
        {"id": box, "site_id": site, "location": {"type": "Point", "coordinates": place}}
        for box, place in BOXES.items()
    ]
    (await client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    owner = await asyncpg.connect(api.database_url)
    try:
        await approve(owner, site)
        heard = Square(api.tenant, site, owner, owner, owner)
        await heard.send(shot())
        await heard.work()
    finally:
        await owner.close()
    found: str = (await client.get("/v1/incidents")).raise_for_status().json()["data"][0]["id"]
    return found


async def take_console_pictures(api: PrivateApi, browser: Browser, base: str, target: Path) -> None:
    """Take the pictures of the console into a folder."""
    alert = await raise_alerts(api)
    client = api.tenant.client
    incident = await report_shot(api)
    rule = (await client.get("/v1/rules")).json()["data"][0]["id"]
    site = (await client.get("/v1/sites")).json()["data"][0]["id"]
    box = (await client.get("/v1/boxes", params={"site": site})).json()["data"][0]["id"]
    pages: list[tuple[str, str, str, dict[str, Any]]] = [
        ("now", "/console", "en", _DESK),
        ("wall", "/console/wall", "en", _DARK),
        ("alert", f"/console/alerts/{alert}", "en", _DESK),
        ("site", f"/console/sites/{site}", "en", _TALL),
        ("box", f"/console/boxes/{box}", "fr", {**_PHONE, "color_scheme": "dark"}),
        ("incident", f"/console/incidents/{incident}", "en", _DESK),
        ("rule", f"/console/rules/{rule}/edit", "en", _DESK),
        ("delivery", "/console/delivery", "en", _DESK),
        ("fleet", "/console/fleet", "en", _DESK),
        ("start", "/console/start", "en", _DESK),
        ("administration", "/console/administration", "en", _DESK),
    ]
    async with OrganisationPeople(api.application, client, api.tenant.id) as people:
        person = await people.join("Ada", "owner")
        for name, path, language, options in pages:
            (await person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
            async with open_signed_in_page(browser, base, person, **options) as opened:
                await opened.visit(path)
                await opened.page.wait_for_timeout(_SETTLING_MS)
                picture = target / f"console-{name}.png"
                await opened.page.screenshot(path=picture, animations="disabled")
        async with open_signed_in_page(browser, base, person, **_DESK) as opened:
            await opened.visit("/console")
            await opened.page.keyboard.press("Control+k")
            await opened.page.keyboard.type("pla")
            await opened.page.wait_for_selector(".palette li")
            await opened.page.wait_for_timeout(_SETTLING_MS)
            await opened.page.screenshot(path=target / "console-palette.png", animations="disabled")


async def report_machines(connection: asyncpg.Connection) -> None:
    """Write what three machines report, of which the third one is down. The connection holds their locks."""
    await create_positions(connection, MessageLogSettings(engine="jetstream", partitions=_PARTITIONS))
    await connection.execute(_MACHINES)
    for partition in range(_PARTITIONS):
        await connection.execute("SELECT pg_advisory_lock($1, $2)", PARTITION_CLASS, partition)
    await connection.execute("SELECT pg_advisory_lock($1), pg_advisory_lock_shared($2)", MAINTAINER, CONSUMER)


async def take_cluster_picture(browser: Browser, folder: Path, target: Path) -> None:
    """Take the picture of three machines: a log of three nodes, one of them killed, and rows of the rest."""
    async with NatsCluster(folder / "log") as log:
        settings = {
            "engine": "jetstream",
            "servers": log.servers,
            "username": nats_cluster.USERNAME,
            "password": nats_cluster.PASSWORD,
            "partitions": _PARTITIONS,
            "max_bytes": 2**24,
        }
        async with (
            start_private_api(folder, "Ville démo", message_log=settings) as api,
            serving(api.application) as base,
            client_of(api.application, api.admin_key) as platform,
        ):
            owner = await asyncpg.connect(api.database_url)
            organisation = (await platform.get("/v1/me")).raise_for_status().json()["organisation"]["id"]
            async with OrganisationPeople(api.application, platform, organisation) as people:
                person = await people.join("Ada", "owner")
                async with open_signed_in_page(browser, base, person, **_DESK) as opened:
                    await report_machines(owner)
                    # Creates the partitions, of which a node is then lost.
                    await opened.visit(_CLUSTER_PAGE)
                    await asyncio.sleep(_LOG_SETTLES_S)
                    await log.nodes[2].kill()
                    await asyncio.sleep(_LOG_SETTLES_S)
                    await owner.execute(_STILL_ALIVE)
                    await opened.visit(_CLUSTER_PAGE)
                    await opened.page.screenshot(path=target / "console-cluster.png", animations="disabled")
            await owner.close()


async def write_pictures() -> None:
    """Start the API, and write the pictures where the guide shows them."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            start_private_api(Path(folder), "Ville démo") as api,
            chromium() as browser,
            # Once: an application that stopped serving refuses streams.
            serving(api.application) as base,
        ):
            await take_register_pictures(api, browser, base, _PICTURES)
            await take_console_pictures(api, browser, base, _PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        async with chromium() as browser:
            await take_cluster_picture(browser, Path(folder), _PICTURES)


if __name__ == "__main__":
    asyncio.run(write_pictures())
