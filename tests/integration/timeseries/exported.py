"""What there is to export: three boxes at two sites, and a few samples of each."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from tests.conftest import Tenant

PATH = "/v1/readings/export"
START = datetime(2026, 3, 28, 12, tzinfo=UTC)
SPAN = {"from": "2026-03-28T12:00:00Z", "to": "2026-03-29T12:00:00Z"}
type Row = tuple[str, datetime, dict[str, float]]

# Byte by byte, as the files are sorted: not as people would.
BOXES = ("-minus", "Box-2", "box-1")
VALUES = (
    {"pm2_5": 12.4, "pressure": 1002.3732},
    {"pm2_5": 1e-7, "laeq": -12.5},
    {"pressure": 300.0},
    {"pm2_5": 19999.99, "temperature": 0.0},
    {"temperature": -0.1, "laeq": 1.5e2},
)


@dataclass
class ExportedFile:
    """What was written, in the order of the files."""

    rows: list[Row]
    sites: dict[str, str]
    places: dict[str, list[float]]

    def of(self, *boxes: str) -> list[Row]:
        return [row for row in self.rows if row[0] in boxes]


async def write(tenant: Tenant, site_id: str) -> ExportedFile:
    """Make the boxes, and send their samples; one before the span and one at its end are not of it."""
    body = {
        "name": "Quai",
        "kind": "street",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [-0.5, 44.25]},
    }
    other = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    sites = dict(zip(BOXES, (site_id, other, site_id), strict=True))
    places = {"-minus": [1.445317, 43.604529], "Box-2": [-0.5, 44.25], "box-1": [1.5, -0.00001]}
    rows: list[Row] = []
    for number, box in enumerate(BOXES):
        made: dict[str, Any] = {"id": box, "site_id": sites[box]}
        if box == "box-1":
            made["location"] = {"type": "Point", "coordinates": places[box]}
        (await tenant.client.post("/v1/boxes", json=made)).raise_for_status()
        times = [START + timedelta(minutes=n, microseconds=n * 1_500 + number) for n in range(len(VALUES))]
        rows += [(box, time, values) for time, values in zip(times, VALUES, strict=True)]
        outside = [(START - timedelta(microseconds=1), VALUES[0]), (START + timedelta(days=1), VALUES[0])]
        sent = [*zip(times, VALUES, strict=True), *outside]
        samples = [{"time": time.isoformat(), "values": values} for time, values in sent]
        answer = await tenant.client.post("/v1/telemetry", json={"box": box, "samples": samples})
        assert answer.json()["stored"] == len(samples), answer.text
    return ExportedFile(rows, sites, places)


async def fill(database_url: str, box: str, rows: int, *, first: int = 1) -> None:
    """So many more samples of a box, a second apart, past the API; the first one so many after the start."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO samples (box_key, time, pm2_5, laeq) "
            "SELECT b.key, $2::timestamptz + n * interval '1 second', n % 100, 40 + n % 50 "
            "FROM boxes b, generate_series($4::int, $4 + $3::int - 1) AS n WHERE b.id = $1",
            box,
            START,
            rows,
            first,
        )
    finally:
        await connection.close()


async def export(client: httpx.AsyncClient, **params: Any) -> httpx.Response:  # noqa: ANN401 (a query)
    answer = await client.get(PATH, params={**SPAN, **params})
    assert answer.status_code == 200, answer.text
    return answer
