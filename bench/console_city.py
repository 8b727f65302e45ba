"""Makes a city for the measurements of the console: sites, boxes that send, firing alerts, and a person.

Everything goes through the API, except a year of hourly samples of a few boxes.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from app.timeseries.rollups.worker import RollupWorker
from bench.load import box_id
from bench.process import FailedError
from bench.stack import BenchStack
from simulators.rest_client import ApiClient

YEARS: Final = 10
"""So many boxes of the first site have sent each hour for a year."""
FIRES: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25}
"""The condition of the alerts that fire all the time."""
FIRES_LATER: Final = {"metric": "no2", "operator": ">", "threshold": 200}
"""The condition of the alerts that fire while the page is watched."""

_EMAIL: Final = "ada@example.com"
_PASSWORD: Final = "quatre vaches sous la pluie"  # noqa: S105 (of a database that is dropped)
_CENTRE: Final = (1.4437, 43.6044)
_SITES_A_ROW: Final = 20
_STEP: Final = 0.012  # degrees between sites
_BOXES_PER_CALL: Final = 250  # of more positions, the check of content takes the numbers for media
_SENDERS: Final = 16
_SETTLE_S: Final = 12.0  # rows of latest values are written some seconds after their samples
# The newest sample is of the last whole hour.
_YEAR: Final = """
INSERT INTO samples (box_key, time, pm2_5, no2)
SELECT b.key, date_trunc('hour', now()) - n * interval '1 hour',
    12 + 6 * sin(n / 24.0 + b.key) + random() * 4, 30 + 10 * sin(n / 12.0) + random() * 6
FROM boxes b, generate_series(1, $2::int) AS n WHERE b.id = ANY ($1)
"""
_PAST: Final = """
INSERT INTO rollup_states (box_key, timezone, backfill_from, backfill_next, backfill_until)
SELECT b.key, s.timezone, h.first, h.first, date_trunc('hour', now())
FROM boxes b JOIN sites s ON s.id = b.site_id,
    LATERAL (SELECT date_trunc('hour', now()) - $2::int * interval '1 hour' AS first) h WHERE b.id = ANY ($1)
ON CONFLICT (box_key) DO UPDATE SET backfill_from = excluded.backfill_from,
    backfill_next = excluded.backfill_next, backfill_until = excluded.backfill_until
"""


@dataclass(frozen=True, slots=True)
class CitySize:
    """How large the city is.

    Attributes:
        sites: with the same number of boxes each.
        boxes: of all sites.
        alerts: that fire.
        hours: of the boxes with a long past.
    """

    sites: int = 200
    boxes: int = 10_000
    alerts: int = 500
    hours: int = 365 * 24


@dataclass(frozen=True, slots=True)
class ConsoleCity:
    """A city, and an owner who signed in.

    Attributes:
        size: its size.
        key: an API key of the organisation.
        token: the token of the owner's session.
        site: the first site.
        alert: an alert that fires.
    """

    size: CitySize
    key: str
    token: str
    site: str
    alert: str

    @property
    def pages(self) -> dict[str, str]:
        """The paths of the measured pages, by their names in the report."""
        return {
            **{
                path: path
                for path in ("/console", "/console/boxes.json", "/console/fleet", "/console/alerts")
            },
            "/console/alerts/{id}": f"/console/alerts/{self.alert}",
            "/console/sites/{id}": f"/console/sites/{self.site}",
        }


def _place(number: int, rng: random.Random, spread: float) -> dict[str, Any]:
    """A place near the middle of a site; sites form a grid."""
    row, column = divmod(number, _SITES_A_ROW)
    longitude = _CENTRE[0] + (column - _SITES_A_ROW / 2) * _STEP + rng.uniform(-spread, spread)
    latitude = _CENTRE[1] + (row - _SITES_A_ROW / 4) * _STEP + rng.uniform(-spread, spread)
    return {"type": "Point", "coordinates": [round(longitude, 6), round(latitude, 6)]}


def _boxes(size: CitySize, sites: list[str]) -> Iterator[dict[str, Any]]:
    rng = random.Random(1)
    for number in range(size.boxes):
        site = number % size.sites
        yield {
            "id": box_id(number),
            "site_id": sites[site],
            "location": _place(site, rng, _STEP / 2),
            # Longer than the measurement takes: no box becomes silent meanwhile.
            "interval_s": 3_600,
        }


def year_boxes(size: CitySize) -> list[str]:
    """Return the boxes that have sent for a year; all are of the first site."""
    return [box_id(number) for number in range(0, size.boxes, size.sites)][:YEARS]


async def _build(client: ApiClient, size: CitySize) -> list[str]:
    """Create sites, boxes and rules; return the sites' ids."""
    rng = random.Random(2)
    sites = []
    for number in range(size.sites):
        site = {
            "name": f"Rue {number}",
            "kind": "street",
            "timezone": "Europe/Paris",
            "location": _place(number, rng, 0.0),
            "retention_days": 730,
        }
        sites.append(str((await client.post("/v1/sites", site))["id"]))
    boxes = list(_boxes(size, sites))
    for start in range(0, size.boxes, _BOXES_PER_CALL):
        await client.post("/v1/boxes/bulk", {"boxes": boxes[start : start + _BOXES_PER_CALL]})
    for site_id in sites:
        rule = {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": FIRES}
        await client.post("/v1/rules", rule)
        later = {"site_id": site_id, "name": "Traffic", "severity": "critical", "condition": FIRES_LATER}
        await client.post("/v1/rules", later)
    return sites


async def _fill_year(database: str, size: CitySize) -> None:
    boxes = year_boxes(size)
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_YEAR, boxes, size.hours, timeout=60)
        await connection.execute(_PAST, boxes, size.hours)
        worker = RollupWorker()
        while await worker.run_once(connection):
            pass
    finally:
        await connection.close()


async def send_sample(client: ApiClient, box: str, **values: float) -> None:
    """Send a sample of now."""
    sample = {"time": datetime.now(UTC).isoformat(), "values": values}
    await client.post("/v1/telemetry", {"box": box, "samples": [sample]})


async def _send_all(client: ApiClient, size: CitySize) -> None:
    """Let every box send once. The alerts that fire are spread over the boxes."""
    every = size.boxes // size.alerts
    numbers = iter(range(size.boxes))

    async def send(numbers: Iterable[int]) -> None:
        for number in numbers:
            fires = number % every == 0 and number // every < size.alerts
            await send_sample(client, box_id(number), pm2_5=40 if fires else 12, no2=30)

    await asyncio.gather(*(send(numbers) for _ in range(_SENDERS)))


async def _sign_in(admin: ApiClient, organisation: str) -> str:
    """Make an owner of the organisation, and return the token of a session."""
    invitation = {"email": _EMAIL, "role": "owner", "organisation_id": organisation}
    token = (await admin.post("/v1/invitations", invitation))["token"]
    async with ApiClient(admin.address, "") as anybody:
        body = {"token": token, "name": "Ada", "password": _PASSWORD}
        await anybody.post("/v1/invitations/accept", body)
        signed_in = await anybody.post("/v1/sessions", {"email": _EMAIL, "password": _PASSWORD})
    return str(signed_in["token"])


async def build_city(stack: BenchStack, database: str, size: CitySize) -> ConsoleCity:
    """Build the city in an empty database.

    Raises:
        FailedError: not as many alerts fire as should.
    """
    async with stack.api(database) as admin:
        organisation = str((await admin.post("/v1/organisations", {"name": "Toulouse"}))["id"])
        body = {"organisation_id": organisation, "name": "bench", "scopes": ["*"]}
        key = str((await admin.post("/v1/api-keys", body))["key"])
        token = await _sign_in(admin, organisation)
        async with ApiClient(admin.address, key, timeout_s=120.0) as client:
            sites = await _build(client, size)
            await _fill_year(database, size)
            await _send_all(client, size)
            await asyncio.sleep(_SETTLE_S)
            firing = (await client.get("/v1/overview"))["firing"]["total"]
            if firing != size.alerts:
                raise FailedError(f"{firing} alerts fire instead of {size.alerts}.")
            alert = (await client.get("/v1/alerts", state="firing", limit="1"))["data"][0]["id"]
    await _analyse(database)
    return ConsoleCity(size, key, token, sites[0], str(alert))


async def _analyse(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("VACUUM (ANALYZE)", timeout=60)
    finally:
        await connection.close()
