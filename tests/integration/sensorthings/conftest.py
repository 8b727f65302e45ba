"""A street with two boxes, whose air quality is open data and whose noise is not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.catalogue.sensorthings_ids import make_datastream_id
from app.settings import VigieSettings
from app.standard_apis.settings import StandardApiSettings
from tests.conftest import Tenant, client_of
from tests.purposes import approve

ROOT: Final = "/sensorthings/v1.1"
VALUES: Final = 150
EXACT: Final = {"box-0001": (1.445317, 43.604529), "box-0002": (1.450143, 43.610123)}


@dataclass
class Street:
    """What there is.

    Attributes:
        tenant: whose it is.
        keyed: a client with the tenant's key.
        anonymous: a client without a key.
        begins: the time of the first sample; one follows each minute.
    """

    tenant: Tenant
    site_id: str
    keyed: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    begins: datetime
    database_url: str
    numbers: dict[str, str] = field(default_factory=dict)
    register: dict[str, str] = field(default_factory=dict)

    def stream(self, box: str, metric: str, *, hourly: bool = False) -> str:
        """The id of a Datastream."""
        return make_datastream_id(self.register[box], metric, hourly=hourly)


async def get(client: httpx.AsyncClient, path: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
    address = path if path.startswith("http") else f"{ROOT}{path}"
    answer = await client.get(address, params={f"${name}": value for name, value in params.items()} or None)
    assert answer.status_code == 200, (answer.status_code, answer.text, str(answer.request.url))
    return answer.json()


async def collect(client: httpx.AsyncClient, path: str, **params: str) -> list[Any]:
    """All entities of a collection, page by page."""
    body = await get(client, path, **params)
    found = list(body["value"])
    while "@iot.nextLink" in body:
        body = await get(client, body["@iot.nextLink"])
        assert body["value"]
        found += body["value"]
    return found


async def refused(client: httpx.AsyncClient, path: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
    answer = await client.get(f"{ROOT}{path}", params={f"${name}": value for name, value in params.items()})
    assert answer.status_code == 400, (answer.status_code, answer.text)
    return answer.json()


def record_calls(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[tuple[Any, Any]]:
    """Record the arguments and the result of each call of a function of a module."""
    function, calls = getattr(module, name), []

    async def call(*arguments: object, **options: object) -> object:
        result = await function(*arguments, **options)
        calls.append((arguments, result))
        return result

    monkeypatch.setattr(module, name, call)
    return calls


async def send(client: httpx.AsyncClient, box: str, samples: list[dict[str, Any]]) -> None:
    answer = await client.post("/v1/telemetry", json={"box": box, "samples": samples})
    assert answer.status_code < 300, answer.text


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """Open data without a key."""
    return settings.model_copy(update={"sensorthings": StandardApiSettings(anonymous=True)})


@pytest.fixture
async def street(
    application: FastAPI, tenant: Tenant, site_id: str, database_url: str
) -> AsyncIterator[Street]:
    client = tenant.client
    for box, (longitude, latitude) in EXACT.items():
        body = {
            "id": box,
            "site_id": site_id,
            "name": f"Lamp {box[-1]}",
            "kind": "lamp",
            "interval_s": 60,
            "location": {"type": "Point", "coordinates": [longitude, latitude]},
        }
        (await client.post("/v1/boxes", json=body)).raise_for_status()
    begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=4)
    for box in EXACT:
        samples = [
            {
                "time": (begins + timedelta(minutes=minute)).isoformat(),
                "values": {"pm2_5": 10 + minute / 10, "laeq": 50 + minute % 7},
            }
            for minute in range(VALUES)
        ]
        await send(client, box, samples)
    owner = await asyncpg.connect(database_url)
    await approve(owner, site_id, "air_quality", open_data=True)
    await owner.close()
    async with client_of(application, None) as anonymous:
        made = Street(tenant, site_id, client, anonymous, begins, database_url)
        for thing in await collect(client, "/Things"):
            made.numbers[thing["properties"]["box"]] = thing["@iot.id"]
            made.register[thing["properties"]["box"]] = thing["properties"]["registerNumber"]
        yield made
