"""Makes grants of a tenant for tests, and opens them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from fastapi import FastAPI

from tests.conftest import STREET, Tenant, client_of

BEGIN: Final = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
"""The time of the first sample."""
TERMS: Final = "Terms of use, version 3"


@dataclass(frozen=True)
class Measured:
    """A site with a box, whose samples are a minute apart from BEGIN on: pm2_5, no2 and laeq."""

    site: str
    box: str


async def measure(tenant: Tenant, box: str, *, minutes: int = 180) -> Measured:
    """Register a box at a new site, and store its samples."""
    site = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    place = {"type": "Point", "coordinates": [1.44531, 43.60452]}
    body = {"id": box, "site_id": site, "location": place, "attributes": {"note": "lamp 7"}}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    samples = [
        {
            "time": (BEGIN + timedelta(minutes=number)).isoformat(),
            "values": {"pm2_5": float(number), "no2": 1000.0 + number, "laeq": 50.0},
        }
        for number in range(minutes)
    ]
    stored = (await tenant.client.post("/v1/telemetry", json={"box": box, "samples": samples})).json()
    assert stored["stored"] == minutes, stored
    return Measured(site, box)


def describe(*sites: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Return the body of a new grant."""
    return {
        "recipient": "Air Lab",
        "recipient_country": "FR",
        "contact": "data@air-lab.example",
        "purpose": "Calibration of low-cost sensors",
        "site_ids": list(sites),
        "metrics": ["pm2_5"],
        "from": (BEGIN + timedelta(minutes=30)).isoformat(),
        "until": (BEGIN + timedelta(minutes=90)).isoformat(),
        "precision_m": 1000,
        "terms": TERMS,
        "valid_until": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
        **more,
    }


async def offer(tenant: Tenant, *sites: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Create a grant."""
    answer = await tenant.client.post("/v1/grants", json=describe(*sites, **more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def accept(application: FastAPI, token: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Accept the offer of a link, as a person of the recipient does."""
    async with client_of(application, token) as holder:
        read = (await holder.get("/v1/grant-offer")).raise_for_status().json()
        body = {"name": "Ada Lovelace", "content_hash": read["content_hash"], **more}
        answer = await holder.post("/v1/grant-offer/acceptance", json=body)
    assert answer.status_code == 201, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def give(
    application: FastAPI,
    tenant: Tenant,
    *sites: str,
    **more: Any,  # noqa: ANN401 (JSON)
) -> tuple[dict[str, Any], str]:
    """Create a grant and accept it. Returns it with its key."""
    made = await offer(tenant, *sites, **more)
    accepted = await accept(application, made["link"]["token"])
    return made, accepted["key"]["key"]


def recipient(application: FastAPI, key: str) -> httpx.AsyncClient:
    """Return a client with the key of a grant."""
    return client_of(application, key)
