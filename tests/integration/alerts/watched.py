"""A tenant's site with a box and a rule, watched through the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conftest import Tenant

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT2M"}


def at(minute: float) -> str:
    return (START + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


class WatchedAlerts:
    """A tenant's site with a box and a rule."""

    def __init__(self, tenant: Tenant, site_id: str, box: str) -> None:
        self.client = tenant.client
        self.site_id = site_id
        self.box = box
        self.rule_id = ""

    async def rule(self, **other: Any) -> str:  # noqa: ANN401 (as JSON)
        body = {"site_id": self.site_id, "name": "Dust", "severity": "warning", "condition": CONDITION}
        made = (await self.client.post("/v1/rules", json=body | other)).raise_for_status()
        identifier: str = made.json()["id"]
        return identifier

    async def send(self, *samples: tuple[float, float], box: str | None = None) -> None:
        given = [{"time": at(minute), "values": {"pm2_5": value}} for minute, value in samples]
        body = {"box": box or self.box, "samples": given}
        (await self.client.post("/v1/telemetry", json=body)).raise_for_status()

    async def alerts(self, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (as in a query)
        answer = await self.client.get("/v1/alerts", params=params)
        assert answer.status_code == 200, answer.text
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    async def alert(self) -> dict[str, Any]:
        (only,) = await self.alerts()
        return only


async def add_box(watched: WatchedAlerts, box: str) -> None:
    body = {"id": box, "site_id": watched.site_id}
    (await watched.client.post("/v1/boxes", json=body)).raise_for_status()
